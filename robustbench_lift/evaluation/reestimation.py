"""Batch norms estimated anew on clean images: a preparation of a network, named in the signature.

    resnet50/lift?bn=reestimate&images=imagenet:/data/train@weights.safetensors

The statistics are those of a fixed choice of clean images, so that the network stays a function of one image. What
depends on the images of a test batch (adaptation at test time) is not this, and is refused.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from robustbench_lift.data.kinds import kind_of, open_images, parse_spec
from robustbench_lift.errors import UsageError
from robustbench_lift.protocols.base import DataIdentity
from robustbench_lift.weights import LoadedModel

IMAGES = 512
"""Images that are taken, class-balanced by their hashes (`data.subset`); all where there are fewer."""
BATCH = 64
"""Images of one batch, whatever the evaluation's; a rest is left out where there are more."""


@torch.no_grad()
def reestimated(model: LoadedModel, device: torch.device) -> tuple[LoadedModel, dict[str, str]]:
    """A model with the batch norms that its spec asks for, and what the signature says of them.

    mean and variance of a layer are the means over batches of 64 images of the batch's mean and (unbiased) variance.

    Args:
        model: left as it is; a copy is returned where batch norms change.
        device: where images go.

    Raises:
        UsageError: the network has no batch norms, or the images cannot be shown to it.
        DataError: an image cannot be read.

    Source: Schneider et al., "Improving robustness against common corruptions by covariate shift adaptation", NeurIPS
    2020, with clean images in the place of corrupted ones.
    """
    if model.reestimated_on is None:
        return model, {}
    spec = parse_spec(model.reestimated_on)
    kind = kind_of(spec)
    whole = open_images(spec)
    if kind.views is None:
        raise UsageError(f"?images={spec}: data of kind {spec.kind} have no geometry.")
    geometry = kind.views(spec).geometry
    images = whole if len(whole.ids) <= IMAGES else kind.limited(whole, IMAGES)
    count = len(images.ids) - len(images.ids) % BATCH or len(images.ids)
    module = copy.deepcopy(model.module)
    layers = [layer for layer in module.modules() if isinstance(layer, _BatchNorm) and layer.track_running_stats]
    if not layers:
        raise UsageError(f"{model.name} has no batch norms to estimate; leave out ?bn=reestimate.")
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the mean over batches
        layer.train()
    changed = replace(model, module=module)
    for start in range(0, count, BATCH):
        rows = range(start, min(start + BATCH, count))
        pixels = [torch.from_numpy(geometry(images.read(row)).transpose(2, 0, 1).copy()) for row in rows]
        changed.logits(torch.stack(pixels).to(device))
    module.eval()
    identity = DataIdentity.of(images, content=kind.content)
    mark = f"reestimated-{identity.name}@{identity.fingerprint[:8]}-n{count}"
    return replace(changed, notes=(*model.notes, f"batch norms estimated on {count} images of {spec}.")), {"bn": mark}
