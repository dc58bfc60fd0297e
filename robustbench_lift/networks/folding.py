"""Batch norms folded into the convolutions before them: the same function with fewer passes over memory."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from robustbench_lift.networks.placement import DenseMaxThen, SamePhase
from robustbench_lift.pooling import PoolingLayer


def fold_batch_norms(module: nn.Module) -> nn.Module:
    """A copy of a network in eval mode whose batch norms are part of its convolutions.

    conv(x) * g + b with g = weight / sqrt(var + eps) is one convolution. Which batch norm follows which convolution is
    read from the graph of the network's forward pass; folded is a pair where nothing else takes the convolution's
    answer, both are plain layers used once, and no hook listens to either. A network that torch.fx cannot follow stays
    as it is. Answers agree to rounding (about 1e-6 in float32), so a class can change where two are that close.

    Args:
        module: in eval mode; it is not changed.

    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU()).eval()
    >>> [type(layer).__name__ for layer in fold_batch_norms(net)]
    ['Conv2d', 'Identity', 'ReLU']
    """
    folded = copy.deepcopy(module)
    for first, second in foldable(folded):
        conv, norm = folded.get_submodule(first), folded.get_submodule(second)
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        _put(folded, first, fuse_conv_bn_eval(conv, norm))
        _put(folded, second, nn.Identity())
    return folded


def foldable(module: nn.Module) -> list[tuple[str, str]]:
    """Paths of the convolutions and batch norms of a network that are one function.

    >>> foldable(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.BatchNorm2d(8)).eval())
    [('0', '1')]
    """
    try:
        nodes = list(_Tracer().trace(module).nodes)
    except Exception:  # whatever a foreign forward pass does with what stands for its input: it cannot be followed
        return []
    calls = Counter(node.target for node in nodes if node.op == "call_module")
    modules = dict(module.named_modules())
    pairs = []
    for node in nodes:
        before = node.args[0] if node.op == "call_module" and node.args else None
        if not isinstance(before, fx.Node) or before.op != "call_module" or len(before.users) != 1:
            continue
        first, second = str(before.target), str(node.target)
        once = calls[before.target] == calls[node.target] == 1
        if once and first in modules and second in modules and _plain(modules[first], modules[second]):
            pairs.append((first, second))
    return pairs


class _Tracer(fx.Tracer):
    """Follows a network down to the layers of torch and to pooling, which decides by what it is shown."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, PoolingLayer | SamePhase | DenseMaxThen) or super().is_leaf_module(
            m, module_qualified_name
        )


def _plain(conv: nn.Module, norm: nn.Module) -> bool:
    if type(conv) is not nn.Conv2d or type(norm) is not nn.BatchNorm2d:
        return False
    heard = any(
        layer._forward_hooks or layer._forward_pre_hooks or getattr(layer, "parametrizations", None)
        for layer in (conv, norm)
    )
    return not heard and not norm.training and norm.running_var is not None


def _put(module: nn.Module, path: str, layer: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    owner: Any = module.get_submodule(parent)
    setattr(owner, name, layer)
