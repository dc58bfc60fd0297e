"""The page in a real browser: headless Chromium, driven through its debugging pipe."""

from __future__ import annotations

import base64
import io
import itertools
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from robustbench_lift.data.photos import PhotoTest
from robustbench_lift.report import document, open_runs, render_all
from robustbench_lift.runs import Run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (Debian: apt-get install chromium)"),
]
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
    "--disable-component-update", "--disable-sync", "--remote-debugging-pipe",
)  # fmt: skip
PHONE, DESKTOP = (390, 844), (1280, 900)
HOSTILE = "<img src=x onerror=window.hacked=1>"


class Browser:
    """One tab, spoken to in the DevTools protocol: messages of JSON, ended by a zero byte."""

    def __init__(self, profile: Path) -> None:
        down_read, self._down = os.pipe()
        self._up, up_write = os.pipe()
        script = f'exec "$0" "$@" 3<&{down_read} 4>&{up_write}'
        command = ["bash", "-c", script, str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(
            command, pass_fds=(down_read, up_write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(down_read)
        os.close(up_write)
        self._numbers, self._buffer = itertools.count(1), b""
        self.events: list[dict[str, Any]] = []
        self._session: str | None = None
        targets = self.call("Target.getTargets")["targetInfos"]
        tab = next(target["targetId"] for target in targets if target["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=tab, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._down, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != number:
            self.events.append(answer)
        assert "error" not in answer, answer
        result = answer["result"]
        assert isinstance(result, dict)
        return result

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            received = os.read(self._up, 1 << 20)
            assert received, "Chromium has ended"
            self._buffer += received
        message, _, self._buffer = self._buffer.partition(b"\0")
        decoded = json.loads(message)
        assert isinstance(decoded, dict)
        return decoded

    def open(self, page: Path, size: tuple[int, int], scheme: str) -> None:
        width, height = size
        self.events.clear()
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Page.navigate", url=page.as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next())

    def run(self, script: str) -> Any:
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def picture(self) -> np.ndarray[Any, np.dtype[np.uint8]]:
        with Image.open(io.BytesIO(base64.b64decode(self.call("Page.captureScreenshot")["data"]))) as image:
            return np.asarray(image.convert("RGB"))

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._down)
        os.close(self._up)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    opened = Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def report(run_writer: Callable[..., Run], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report on the embedded photographs, with a hostile name and a run that is not complete."""
    folder = tmp_path_factory.mktemp("browser")
    ids = PhotoTest(1).ids
    run_writer(folder / "runs" / "alexnet", pooling=None, arch="alexnet-small", quality=1.0, ids=ids)
    for pooling, quality in (("max", 1.4), ("lift", 1.8), (HOSTILE, 1.2)):
        run_writer(
            folder / "runs" / str(quality), pooling=pooling, quality=quality, ids=ids, normaliser="../alexnet",
            skip=lambda cell, broken=pooling == HOSTILE: broken and cell.condition == "fog",
        )  # fmt: skip
    made = document(open_runs([folder / "runs"]), command="robustbench-lift report runs", replicates=50)
    return render_all(made, folder / "report", formats=["html"])[0]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_the_page_fits_reads_and_fetches_nothing(
    browser: Browser, report: Path, size: tuple[int, int], scheme: str
) -> None:
    browser.open(report, size, scheme)
    browser.run("for (const image of document.images) image.loading = 'eager'")
    browser.run("Promise.all([...document.images].map(i => i.decode())).then(() => true)")
    loaded = browser.run("[...document.images].map(i => i.naturalWidth)")
    assert len(loaded) >= 15
    assert min(loaded) > 0
    wide, shown = browser.run("[document.documentElement.scrollWidth, window.innerWidth]")
    assert wide <= shown  # wide tables and figures scroll inside their own boxes
    assert browser.run("document.querySelector('nav').getBoundingClientRect().height") < 80
    texts = "[...document.querySelectorAll('p, td, th, a, button')]"
    assert browser.run(f"Math.min(...{texts}.map(e => parseFloat(getComputedStyle(e).fontSize)))") >= 11
    colours = browser.run("(s => [s.color, s.backgroundColor])(getComputedStyle(document.body))")
    assert contrast(*colours) >= 7
    text = browser.run("getComputedStyle(document.querySelector('#figure-9 svg text')).fill")
    card = browser.run("getComputedStyle(document.querySelector('#figure-9')).backgroundColor")
    assert contrast(text, card) >= 7
    for kind in (".value.best", ".right", ".wrong", ".notes p", ".rest"):
        style = f"getComputedStyle(document.querySelector('main {kind}'))"
        ink, plain, stripes = browser.run(f"(s => [s.color, s.backgroundColor, s.backgroundImage])({style})")
        behind = re.findall(r"rgb\([^)]*\)", stripes) or [card if plain == "rgba(0, 0, 0, 0)" else plain]
        assert min(contrast(ink, one) for one in behind) >= 4.5, kind
    picture = browser.picture()
    assert (np.median(picture) > 200) == (scheme == "light")
    assert picture.std() > 5
    addresses = [
        event["params"]["request"]["url"]
        for event in browser.events
        if event.get("method") == "Network.requestWillBeSent"
    ]
    assert addresses
    assert all(url == report.as_uri() or url.startswith("data:") for url in addresses)
    complaints = [
        event for event in browser.events if event.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown")
    ]
    assert complaints == []
    assert browser.run("window.hacked === undefined")


def test_tables_sort_and_means_stay_below(browser: Browser, report: Path) -> None:
    browser.open(report, DESKTOP, "light")
    column = "[...document.querySelector('#table-5 tbody').rows].map(r => r.cells[1].dataset.key)"
    head = "document.querySelectorAll('#table-5 thead button')[1]"
    for state in ("ascending", "descending"):
        browser.run(f"{head}.click()")
        keys = browser.run(column)
        assert keys[-1] == ""  # the incomplete run has no mCE: last both ways
        numbers = [float(key) for key in keys[:-1]]
        assert numbers == sorted(numbers, reverse=state == "descending")
        assert browser.run(f"{head}.closest('th').getAttribute('aria-sort')") == state
        assert browser.run("document.querySelector('#table-5 tfoot th').textContent") == "alexnet-small"


def contrast(first: str, second: str) -> float:
    """Contrast ratio of two css colours, 1..21."""

    def luminance(colour: str) -> float:
        parts = [float(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)
