"""Whether two runs may be compared: the same protocol over the same images, or the field in which they differ."""

from __future__ import annotations

from robustbench_lift.errors import IncomparableError
from robustbench_lift.runs import Run, differences


def comparable(run_a: Run, run_b: Run, *, allow_protocol_diff: bool = False) -> tuple[str, ...]:
    """Notes on protocol differences that were allowed.

    Protocols that only one of the two ran do not matter here: their numbers are on one side only.

    Raises:
        IncomparableError: other images, or another protocol without leave; the message names each field.
    """
    shared = [p for p in run_a.manifest.signature if p in run_b.manifest.signature]
    protocols = differences(
        {p: run_a.manifest.signature[p] for p in shared}, {p: run_b.manifest.signature[p] for p in shared}, "signature."
    )
    images = _image_differences(run_a, run_b)
    if images:
        images.sort(key=lambda line: not line.partition(":")[0].endswith("images"))  # counts say more than hashes
        raise IncomparableError(
            f"{run_a.path} and {run_b.path} are over different images:\n  "
            + "\n  ".join(images)
            + "\nPaired statistics need the same images; run one of them again."
        )
    if protocols and not allow_protocol_diff:
        raise IncomparableError(
            f"{run_a.path} and {run_b.path} are different protocols:\n  "
            + "\n  ".join(protocols)
            + "\nRun one of them again, or use --allow-protocol-diff to compare nevertheless, with a banner."
        )
    if not set(shared) - {"common"}:
        raise IncomparableError(f"{run_a.path} and {run_b.path} share no protocol: nothing can be compared.")
    return tuple(f"PROTOCOLS DIFFER: {line}" for line in protocols)


def _image_differences(run_a: Run, run_b: Run) -> list[str]:
    """Differences of the image sets of protocols that both ran."""
    a, b = dict(run_a.manifest.data), dict(run_b.manifest.data)
    sets_a, sets_b = a.pop("sets", {}), b.pop("sets", {})
    both = [protocol for protocol in sets_a if protocol in sets_b]
    if both:
        # the count of all images follows from the sets; with sets on both sides those decide
        a.pop("images", None)
        b.pop("images", None)
    return differences(a, b, "data.") + differences(
        {p: sets_a[p] for p in both}, {p: sets_b[p] for p in both}, "data.sets."
    )
