"use strict";
// Sorting of tables: a click sorts by a column, a second one turns it round; unknown values stay last, means below.
for (const button of document.querySelectorAll(".numbers thead button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th");
    const table = head.closest("table");
    const body = table.tBodies[0];
    const index = head.cellIndex;
    const down = head.getAttribute("aria-sort") === "ascending";
    const sign = down ? -1 : 1;
    const numeric = button.dataset.kind === "number";
    const key = (row) => row.cells[index].dataset.key;
    const rows = Array.from(body.rows);
    rows.sort((a, b) => {
      const [x, y] = [key(a), key(b)];
      if (x === "" || y === "") return (x === "") - (y === "");
      return sign * (numeric ? Number(x) - Number(y) : x.localeCompare(y));
    });
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    for (const row of rows) {
      row.classList.remove("rule");
      body.append(row);
    }
  });
}
