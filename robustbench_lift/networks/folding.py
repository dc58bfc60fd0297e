"""Batch norms folded into the convolutions before them: the same function with fewer passes over memory."""

from __future__ import annotations

import copy
from itertools import pairwise

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from robustbench_lift.networks.placement import outside_pooling
from robustbench_lift.networks.resnet import Block, ResNet


def fold_batch_norms(module: nn.Module) -> nn.Module:
    """A copy of a network in eval mode whose batch norms are part of its convolutions.

    conv(x) * g + b with g = weight / sqrt(var + eps) is one convolution. Folded are neighbours in an nn.Sequential, and
    conv1, bn1, ... of our residual networks; what another model does with its layers is not guessed. Answers agree to
    rounding (about 1e-6 in float32).

    Args:
        module: in eval mode; it is not changed.

    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU()).eval()
    >>> [type(layer).__name__ for layer in fold_batch_norms(net)]
    ['Conv2d', 'Identity', 'ReLU']
    """
    folded = copy.deepcopy(module)
    for parent in list(outside_pooling(folded)):
        for first, second in _pairs(parent):
            conv, norm = getattr(parent, first), getattr(parent, second)
            if _foldable(conv, norm):
                setattr(parent, first, fuse_conv_bn_eval(conv, norm))
                setattr(parent, second, nn.Identity())
    return folded


def _pairs(parent: nn.Module) -> list[tuple[str, str]]:
    """Names of children of which the second works on what the first answers, and nothing else does."""
    if type(parent) is nn.Sequential:
        names = [name for name, _ in parent.named_children()]
        return list(pairwise(names))
    if isinstance(parent, Block | ResNet):
        return [(f"conv{i}", f"bn{i}") for i in (1, 2, 3) if hasattr(parent, f"conv{i}")]
    return []


def _foldable(conv: nn.Module, norm: nn.Module) -> bool:
    plain = type(conv) is nn.Conv2d and type(norm) is nn.BatchNorm2d
    return plain and not norm.training and norm.running_var is not None
