"""Where and how precisely a network computes: devices, precisions, and running out of memory.

Importing this module does not import torch: the command line names precisions and devices in its help.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from robustbench_lift.errors import DataError, UsageError

if TYPE_CHECKING:
    import torch

Precision = Literal["fp32", "tf32", "bf16", "fp16"]
PRECISIONS: tuple[str, ...] = get_args(Precision)


def pick_device(name: str) -> torch.device:
    """The device of this process: `auto` is CUDA when there is one; under torchrun, CUDA is the rank's own.

    Args:
        name: auto, cpu, cuda, cuda:1, ...

    Raises:
        UsageError: no such device, or CUDA is asked for and absent.

    >>> pick_device("cpu")
    device(type='cpu')
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"unknown device {name!r}. Use auto, cpu, cuda, or cuda:1 and so on.") from None
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"--device {name}: only cpu and cuda are supported.")
    if device.type == "cpu":
        if device.index:
            raise UsageError(f"--device {name}: there is one cpu; say cpu.")
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise UsageError("--device cuda: this PyTorch sees no CUDA device. Use --device cpu, or check the driver.")
    index = device.index if device.index is not None else int(os.environ.get("LOCAL_RANK", "0"))
    if index >= torch.cuda.device_count():
        raise UsageError(f"--device cuda:{index}: this PyTorch sees {torch.cuda.device_count()} CUDA devices.")
    return torch.device("cuda", index)


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[object]:
    """The context of a forward pass: autocast for bf16 and fp16, nothing for fp32 and tf32."""
    import torch

    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    return torch.autocast(device.type, dtype=dtype) if dtype else contextlib.nullcontext()


@contextlib.contextmanager
def tensor_float_32(allowed: bool) -> Iterator[None]:
    """TF32 on or off inside the block only: it flips labels, so it is never on by accident.

    The switches are global and read when a kernel is launched: no other thread may launch kernels meanwhile that need
    another setting.
    """
    import torch

    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def slow_precision(device: torch.device, precision: str, *, cpuinfo: Path = Path("/proc/cpuinfo")) -> str | None:
    """What to know of a precision that this processor has no instructions for, None where it has or nobody can tell.

    Without bf16 instructions a CPU converts every number to float32 and back: a training took 6 times as long as in
    fp32, an evaluation 14 times.

    Args:
        device: where the network computes.
        precision: one of `PRECISIONS`.
        cpuinfo: Linux's list of what the processor can do.
    """
    if device.type != "cpu" or precision != "bf16":
        return None
    try:
        words = set(cpuinfo.read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        return None
    if words & {"avx512_bf16", "amx_bf16", "bf16"}:
        return None
    return (
        "--precision bf16: this processor has no bf16 instructions, so it is many times slower than fp32 here. Use "
        "--precision fp32, or a GPU."
    )


def out_of_memory(error: RuntimeError) -> bool:
    """Whether a device or this computer had not enough memory.

    >>> import torch
    >>> out_of_memory(torch.OutOfMemoryError("CUDA out of memory")), out_of_memory(RuntimeError("shapes differ"))
    (True, False)
    """
    import torch

    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def no_memory(images: torch.Tensor) -> DataError:
    """The error for images [..., H, W] of which not a single one fits their device."""
    return DataError(
        f"{images.device} has not enough memory for a single image of {tuple(images.shape[-2:])} pixels. Use another "
        "--device, or end what else uses its memory."
    )
