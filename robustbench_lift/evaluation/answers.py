"""Whether a network's answers are such as the data can score: its task, its classes, its numbers."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from robustbench_lift.data.base import ImageSet, outputs_of
from robustbench_lift.errors import DataError, UsageError
from robustbench_lift.evaluation.diagnosis import diagnose_chance
from robustbench_lift.protocols.base import EvaluationProtocol, stored_by
from robustbench_lift.runs import Cell, Predictions, Record
from robustbench_lift.weights import LoadedModel
from robustbench_lift.weights.model import task_of

ANSWERS = {"classification": "one class for an image", "segmentation": "a class for every pixel"}
"""What networks of a task answer, in words."""


def require_same_task(task: str | None, model: str, protocol: EvaluationProtocol) -> None:
    """Refuse a classifier on label maps, and a segmentation network on labels."""
    wanted = stored_by(protocol).TASK
    if task is not None and task != wanted:
        named = {"classification": "resnet50/lift@FILE", "segmentation": "segnet/lift@FILE"}[wanted]
        raise UsageError(
            f"{model} is a network for {task}, which answers {ANSWERS[task]}; {protocol.data.name} needs {wanted}: "
            f"{ANSWERS[wanted]}. Name such a network, for example {named}, or other data."
        )


def require_same_classes(model: LoadedModel, protocol: EvaluationProtocol, images: ImageSet) -> None:
    """Refuse a network of another task, or of another number of classes than the images are of."""
    require_same_task(model.task, model.name, protocol)
    outputs = outputs_of(images)
    wanted = len(images.class_names) if outputs is None else outputs.of
    if model.num_classes != wanted:
        raise _other_classes(model, model.num_classes, protocol.data.name, images, wanted)


def _other_classes(model: LoadedModel, outputs: int, data: str, images: ImageSet, classes: int) -> DataError:
    from robustbench_lift.data.classes import wnids

    met = len(np.unique(images.labels))
    advice = "Evaluate a checkpoint trained for these classes."
    if outputs == len(wnids()) and set(images.class_names) < set(wnids()):
        advice = (
            "These classes are some of ImageNet's: for a network of all 1,000 say imagenet:PATH?classes=partial, which "
            "keeps their indices (imagenet-c: and imagenet-p: take it too)."
        )
    elif outputs == met < classes and set(images.class_names) <= set(wnids()):
        advice = (
            f"The images are of {met} of them: for a network that was trained on these alone, in sorted order, "
            "say imagenet:PATH?classes=subset (imagenet-c: and imagenet-p: take it too), or folder:PATH."
        )
    elif model.spec.endswith("@random"):
        advice = f"Untrained networks take their classes from the spec: ?num_classes={classes}."
    return DataError(
        f"{model.name} has {outputs} outputs, the data set {data} has {classes} classes: its answers cannot be scored. "
        f"{advice}"
    )


def check_logits(logits: Tensor, model: LoadedModel, record: type[Record]) -> None:
    """Refuse answers that cannot be scored.

    Raises:
        DataError: a logit is not a number, there is another number of classes, or the network does something else.
    """
    if task_of(logits) != record.TASK:
        raise DataError(
            f"{model.name} answers {ANSWERS[task_of(logits)]}; the data need {record.TASK}: {ANSWERS[record.TASK]}."
        )
    if logits.shape[1] != model.num_classes:
        raise DataError(f"{model.name} answers with {logits.shape[1]} values, expected {model.num_classes} classes.")
    # a sum is finite only if all that enters it is, and reads the logits once; of large ones it may overflow
    if not bool(logits.sum().isfinite()) and not bool(logits.isfinite().all()):
        raise DataError(
            f"{model.name} answers with NaN or infinity. Check the checkpoint (`robustbench-lift check`), the "
            "normalisation and, with --precision fp16, the range."
        )


def stop_at_chance(model: LoadedModel, cell: Cell, predictions: Predictions, classes: int) -> None:
    """Refuse the answers to a cell that are no better than guessing, with what is probably wrong.

    Args:
        model: for the message.
        cell: which cell; hard ones are not judged (`diagnose_chance`).
        predictions: all of the cell's.
        classes: of the data.

    Raises:
        DataError: the network answers at the level of chance.
    """
    top1 = predictions.top1[:, 0]
    error = float((top1 != predictions.labels).mean())
    found = diagnose_chance(error, classes, images=len(top1), cell=cell, labels=predictions.labels, top1=top1)
    if found is not None:
        raise DataError(
            f"{model.name}: {found}\nThe run stops here and keeps what was stored before; "
            "--allow-chance goes on nevertheless."
        )
