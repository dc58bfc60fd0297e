"""What run.json says of an evaluation: which model, which images, which protocols."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np

from robustbench_lift.data.base import ImageSet, fingerprint, left_out_of
from robustbench_lift.errors import DataError, IncomparableError
from robustbench_lift.protocols.base import EvaluationProtocol, stored_by
from robustbench_lift.provenance import environment
from robustbench_lift.runs import Manifest
from robustbench_lift.weights import LoadedModel

SAMPLE = 256
"""Files whose bytes are read to notice that images were exchanged: 0.1 s for ImageNet's."""


def manifest(
    model: LoadedModel,
    protocols: Sequence[EvaluationProtocol],
    *,
    precision: str,
    device: str,
    normaliser: str | None = None,
    provenance: Mapping[str, object] | None = None,
    mark: Mapping[str, str] | None = None,
) -> Manifest:
    """run.json of one model on some protocols.

    Args:
        model: the model.
        protocols: over images of one data set.
        precision: of the forward passes.
        device: the device that is used.
        normaliser: what CE and FR are divided by when scored.
        provenance: extra facts (command line, git revision).
        mark: further fields of the signature, of a network that is no function of one image.

    Raises:
        IncomparableError: the protocols are over different data sets.
    """
    sets: dict[str, dict[str, object]] = {}
    for protocol in protocols:
        source = protocol.images(protocol.cells()[0])
        pixels = getattr(source, "content", None)
        sets[protocol.name] = {
            "images": len(source.ids),
            "fingerprint": fingerprint(source.ids, source.labels, pixels() if pixels else b""),
        }
        contents = None if pixels else files_sha256(source)
        if contents is not None:
            sets[protocol.name]["files"] = contents
    whole, *others = dict.fromkeys(protocol.data for protocol in protocols)
    if others:
        shown = ", ".join(f"{one.name}@{one.fingerprint[:8]} ({one.images:,} images)" for one in (whole, *others))
        raise IncomparableError(
            f"one run is over one data set, not over {shown}. Build its protocols with one Request, or give them one "
            "identity."
        )
    mapped = any(stored_by(protocol).TASK == "segmentation" for protocol in protocols)
    common = {
        "data": f"{whole.name}@{whole.fingerprint[:8]}",
        "n": str(whole.images),
        **({} if whole.outputs is None else {"outputs": whole.outputs.text}),
        "precision": precision,
        **(mark or {}),
    }
    left_out = {p.name: dict(found) for p in protocols if (found := left_out_of(p.images(p.cells()[0])))}
    return Manifest(
        model=model_record(model),
        data={
            "name": whole.name,
            "images": whole.images,
            "classes": len(whole.class_names),
            # a score of a class of a label map is named after it
            **({"class_names": list(whole.class_names)} if mapped else {}),
            "sets": sets,
        },
        signature={"common": common, **{p.name: p.fields() for p in protocols}},
        cells=tuple(cell.key for p in protocols for cell in p.cells()),
        normaliser=normaliser,
        provenance={**environment(device), **({"left_out": left_out} if left_out else {}), **(provenance or {})},
    )


def files_sha256(images: ImageSet) -> str | None:
    """sha256 over the bytes of SAMPLE files, evenly spaced, and the sizes of all where known; of label maps too.

    Ids and labels stay the same when pictures are exchanged under their names; this does not. None for images that do
    not lie in files.
    """
    return _sampled(images)[0]


def changed_since(images: ImageSet, begun: str | None) -> bool:
    """Whether the files of a set are others than they were, by `files_sha256`; False where some cannot be read."""
    now, readable = _sampled(images)
    return readable and now != begun


def _sampled(images: ImageSet) -> tuple[str | None, bool]:
    """The digest, and whether all files of the sample could be read."""
    files = [found for name in ("blobs", "maps") if (found := getattr(images, name, None)) is not None]
    if not files:
        return None, True
    digest, readable = hashlib.sha256(), True
    for blobs in files:
        sizes = getattr(blobs, "sizes", None)
        if sizes is not None:
            digest.update(np.asarray(sizes() if callable(sizes) else sizes, dtype="<i8").tobytes())
        for index in sorted({int(i) for i in np.linspace(0, len(images.ids) - 1, SAMPLE)}) if len(images.ids) else ():
            try:
                digest.update(hashlib.sha256(blobs.read(index)).digest())
            except DataError as error:  # named when it is its turn
                readable = False
                digest.update(type(error).__name__.encode())
    return digest.hexdigest(), readable


def model_record(model: LoadedModel) -> dict[str, object]:
    """What run.json says of a model."""
    return {
        "spec": model.spec,
        "name": model.name,
        "arch": model.arch,
        "pooling": model.pooling,
        "placement": model.placement,
        "weights_sha256": model.weights_sha256,
        "parameters": model.parameters,
        "num_classes": model.num_classes,
        "preprocessing": {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(model.preprocessing).items()},
        "card": dict(model.card),
        "notes": list(model.notes),
    }
