"""What a network costs: parameters and multiply-accumulate operations."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def parameters(model: nn.Module) -> int:
    """How many learned values a network has.

    >>> parameters(nn.Linear(3, 4))
    16
    """
    return sum(p.numel() for p in model.parameters())


def macs(model: nn.Module, input_size: int) -> int:
    """Multiply-accumulate operations of convolutions and matrix products for one image [1, 3, input_size, input_size].

    Sums, maxima, normalisation and activations are not counted, as is usual. Nothing is computed: the network is
    copied to the meta device.

    >>> macs(nn.Conv2d(3, 8, 3, padding=1), 32)
    221184
    """
    shadow = copy.deepcopy(model).to("meta").eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        shadow(torch.empty(1, 3, input_size, input_size, device="meta"))
    return int(counter.get_total_flops()) // 2
