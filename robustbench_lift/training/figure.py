"""Loss and error by epoch, drawn without a display."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robustbench_lift.files import write_atomic


def draw_curves(trainings: Mapping[str, Sequence[Mapping[str, Any]]], path: Path, *, dpi: int = 120) -> None:
    """Draw training and test loss, and training and test error, of one or several trainings.

    Args:
        trainings: log lines of each training by name.
        path: .png or .svg, written whole or not at all.
        dpi: pixels an inch.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2)
    for number, (name, lines) in enumerate(trainings.items()):
        epochs = [line["epoch"] for line in lines]
        marker = "o" if len(epochs) == 1 else ""
        for panel, kind, scale in zip(panels, ("loss", "error"), (1, 100), strict=True):
            for part, style in (("test", "-"), ("train", ":")):
                values = [scale * line[f"{part}_{kind}"] for line in lines]
                panel.plot(epochs, values, style, marker=marker, color=f"C{number % 10}", label=f"{name}, {part}")
    for panel, label in zip(panels, ("cross-entropy (nats)", "top-1 error (%)"), strict=True):
        panel.set_xlabel("epoch")
        panel.set_ylabel(label)
        panel.grid(alpha=0.3)
    panels[1].set_ylim(bottom=0)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)), fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format=path.suffix.removeprefix("."), dpi=dpi)
    write_atomic(path, buffer.getvalue())
