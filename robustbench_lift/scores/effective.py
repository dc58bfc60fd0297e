"""Effective robustness: runs on ImageNet beside runs on a natural shift, and the line of reference networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import metrics
from robustbench_lift.errors import IncompleteError, UsageError
from robustbench_lift.runs import Run
from robustbench_lift.scores.scoring import score

if TYPE_CHECKING:
    import pandas as pd


def effective_frame(
    clean: Sequence[Run],
    shifted: Sequence[Run],
    *,
    reference: Sequence[str] = (),
    line: metrics.AccuracyLine | None = None,
) -> pd.DataFrame:
    """Accuracy under a shift beyond what accuracy without it predicts, one row a network.

    Columns: model, accuracy, shifted_accuracy, predicted, effective_robustness, reference (whether the line was fitted
    to it), line (which one).

    Args:
        clean: runs without the shift, for example on `imagenet:/val?like=/data/imagenet-r`.
        shifted: runs of the same weights under it, for example on `imagenet-r:`.
        reference: names of the networks that the line is fitted to, at least two.
        line: a published line in their place.

    Raises:
        UsageError: neither or both of reference and line, a name that no run has, a network without its other run.
        IncompleteError: a run lacks its clean cell.

    Source: Taori et al., NeurIPS 2020, section 2 (`metrics.effective`).
    """
    import pandas as pd

    if bool(reference) == (line is not None):
        raise UsageError("effective robustness needs a line: name reference networks, at least two, or give a line.")
    pairs: dict[str, tuple[float, float]] = {}
    for run in clean:
        weights = run.manifest.model.get("weights_sha256")
        others = [other for other in shifted if other.manifest.model.get("weights_sha256") == weights]
        if len(others) != 1:
            raise UsageError(f"{run.name} has {len(others)} runs of its weights under the shift, expected one.")
        pairs[run.name] = (_accuracy(run), _accuracy(others[0]))
    unknown = [name for name in reference if name not in pairs]
    if unknown:
        raise UsageError(f"reference {', '.join(unknown)}: no such network among {', '.join(pairs)}.")
    if line is None:
        known = [pairs[name] for name in reference]
        source = f"least squares between logits of {', '.join(reference)}"
        line = metrics.fit_accuracy_line([a for a, _ in known], [b for _, b in known], source=source)
    return pd.DataFrame.from_records(
        [
            {
                "model": name,
                "accuracy": accuracy,
                "shifted_accuracy": under,
                "predicted": line(accuracy),
                "effective_robustness": metrics.effective_robustness(accuracy, under, line),
                "reference": name in reference,
                "line": line.source,
            }
            for name, (accuracy, under) in pairs.items()
        ]
    )


def _accuracy(run: Run) -> float:
    error = score(run, None).get("clean_error")
    if error is None:
        raise IncompleteError(f"{run.path} has no clean error: run it with --protocols clean.")
    return 1 - error
