"""What `run` says beside the tables: what is open about data and models, and what belongs to a shift consistency."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from robustbench_lift.protocols.base import EvaluationProtocol
    from robustbench_lift.runs import PixelAgreement, Run
    from robustbench_lift.weights import LoadedModel


def data_notes(protocols: Sequence[EvaluationProtocol]) -> list[str]:
    """What a user should know of the images before a run: files that are left out, the order of classes."""
    from robustbench_lift.data.base import left_out_of, notes_of

    lines = []
    for protocol in protocols:
        images = protocol.images(next(iter(protocol.cells())))
        reasons = [f"{count:,} {reason}" for reason, count in left_out_of(images).items()]
        if reasons:
            lines.append(f"note on {images.name}: files are left out ({', '.join(reasons)}); `check` names them.")
        lines += [f"note on {images.name}: {note}" for note in notes_of(images)]
    return list(dict.fromkeys(lines))


def model_notes(models: Sequence[LoadedModel], protocols: Sequence[EvaluationProtocol]) -> list[str]:
    """What a user should know of the models before they are evaluated, a line each.

    What their weights leave open, and where clean images are resized otherwise than a model was published with: the
    protocol is the same for all models, so that they compare, and says nothing of what each could reach.
    """
    from robustbench_lift.data.geometry import ResizeCrop

    geometries = {getattr(protocol, "geometry", None) for protocol in protocols if protocol.name == "clean"}
    shown = [geometry for geometry in geometries if isinstance(geometry, ResizeCrop)]
    lines = []
    for model in models:
        lines += [f"note on {model.name}: {note}" for note in model.notes]
        own = model.preprocessing
        for geometry in shown:
            theirs = own.resize, own.crop, own.interpolation
            if own.crop is not None and theirs != (geometry.resize, geometry.crop, geometry.interpolation):
                lines.append(
                    f"note on {model.name}: its own preprocessing is resize {own.resize} ({own.interpolation}), crop "
                    f"{own.crop}; the protocol shows every model {geometry.text}. Its own geometry, under another "
                    f"signature: ?resize={own.resize or 'none'}&crop={own.crop}&interpolation={own.interpolation}."
                )
    return lines


def shift_words(run: Run) -> str | None:
    """Shift consistency of a run with what it must not be read without: accuracy, and the correct images alone.

    A network that answers one class for everything is perfectly consistent.
    """
    import metrics
    from robustbench_lift.runs import PixelAgreement, Record
    from robustbench_lift.scores.measures import window_pairs

    cell = next((cell for cell in run.expected if cell.protocol == "shift"), None)
    if cell is None:
        return None
    stored = run.record(cell, Record)
    if isinstance(stored, PixelAgreement):
        return _pixel_shift_words(run, stored)
    predictions = run.read(cell)
    first, second = window_pairs(predictions.top1, cell.condition)
    right = first == predictions.labels[:, None]
    among = f"{metrics.consistency(first[right], second[right]):.1%}" if right.any() else "undefined"
    text = (
        f"{run.name}: shift consistency ({cell.condition}) {metrics.consistency(first, second):.1%} at an accuracy of "
        f"{predictions.correct.mean():.1%} on these windows; {among} where the first of a pair is right"
    )
    return text.replace("%", " %")


def _pixel_shift_words(run: Run, stored: PixelAgreement) -> str:
    """The same of a segmentation network, pixel by pixel."""
    alike, pixels, right_alike, right = (stored.agreement[..., k].astype(float) for k in range(4))
    among = f"{right_alike.sum() / right.sum():.1%}" if right.sum() else "undefined"
    accuracy = right.sum() / pixels.sum()
    text = (
        f"{run.name}: shift consistency of pixels (overlap) {(alike / pixels).mean():.1%} at a pixel accuracy of "
        f"{accuracy:.1%} on the first windows; {among} where the first of a pair is right"
    )
    return text.replace("%", " %")
