"""A model that is ready to answer, with all that must be known of it; what a source of models hands over."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustbench_lift.device import out_of_memory
from robustbench_lift.errors import RobustbenchError, UsageError
from robustbench_lift.networks.folding import fold_batch_norms, foldable
from robustbench_lift.networks.registry import Task
from robustbench_lift.text import printable
from robustbench_lift.weights.card import state_sha256
from robustbench_lift.weights.preprocessing import Preprocessing


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A network in eval mode and its provenance."""

    spec: str
    """The model spec, from which the same model can be loaded again; a description for a network in memory."""
    name: str
    """Short, for tables."""
    arch: str
    pooling: str | None
    """None for networks of other sources."""
    placement: str | None
    module: nn.Module
    """In eval mode, on the device."""
    preprocessing: Preprocessing
    weights_sha256: str
    """Of the file's bytes; of names, shapes and values of the state dict where there is no single file."""
    parameters: int
    """Number of learned values."""
    num_classes: int
    task: Task | None = None
    """What it answers; None where it has not been asked yet (a network in memory)."""
    class_names: tuple[str, ...] | None = None
    card: Mapping[str, str] = field(default_factory=dict)
    """What the weights' file says of itself."""
    reestimated_on: str | None = None
    """Data spec of the clean images on which batch norms are estimated before the evaluation; None leaves them."""
    notes: tuple[str, ...] = ()
    """What a user should know: which of two sets of weights, what the keys leave open, what was assumed."""

    def __repr__(self) -> str:
        """One line: a module's own repr has one for each layer."""
        return f"LoadedModel({self.spec!r}, {self.parameters:,} parameters, weights {self.weights_sha256[:8]})"

    @classmethod
    def of(
        cls,
        network: nn.Module | Callable[[Tensor], Any],
        *,
        name: str | None = None,
        preprocessing: Preprocessing | None = None,
        num_classes: int | None = None,
        class_names: tuple[str, ...] | None = None,
        weights_sha256: str | None = None,
        device: torch.device | str | None = None,
    ) -> LoadedModel:
        """A network that is already in memory, ready to be evaluated.

        A module is used itself, not copied: it is put in eval mode and, when a device is given, moved there. Both a
        module and any other callable are called with normalised images, float32 [N, 3, H, W], and answer logits [N, K],
        or [N, K, h, w] for segmentation, as a tensor or as the attribute or entry `logits` (Hugging Face's models) or
        `out` (torchvision's) of what they return. A callable that wants pixels in 0..1 has
        `preprocessing=Preprocessing(mean=(0, 0, 0), std=(1, 1, 1))`.

        Args:
            network: a module, or a function from images to logits.
            name: for tables and folders; None takes the name of the class or function.
            preprocessing: None takes the module's own `preprocessing` (a Preprocessing) or ImageNet's, which is noted.
            num_classes: K; None asks the network once, with one black image of the crop's size.
            class_names: names of the classes in the order of the logits.
            weights_sha256: what tells these weights from others in a run; None hashes a module's state dict, and the
                name of a callable, which is noted.
            device: where the images go and a module is moved; None leaves it where its parameters are, else "cpu".

        Raises:
            UsageError: no callable, it fails on an image, or answers with something else than logits.

        >>> model = LoadedModel.of(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4)), name="tiny")
        >>> model.name, model.num_classes, model.parameters
        ('tiny', 4, 16)
        """
        if isinstance(network, str) or not callable(network):
            raise UsageError(f"expected a torch.nn.Module or a callable, found a {type(network).__name__}.")
        module = network if isinstance(network, nn.Module) else _Called(network)
        if name is not None and (not isinstance(name, str) or not name):
            raise UsageError(f"name must be text for tables and folders, not {name!r}.")
        if num_classes is not None and (type(num_classes) is not int or num_classes < 1):
            raise UsageError(f"num_classes must be a whole number, 1 or more, not {num_classes!r}.")
        if weights_sha256 is not None and (not isinstance(weights_sha256, str) or not weights_sha256):
            raise UsageError(
                f"weights_sha256 must be text that tells these weights from others, not {weights_sha256!r}."
            )
        called = name or str(getattr(network, "__name__", None) or type(network).__name__)
        notes: tuple[str, ...] = ()
        own = preprocessing if preprocessing is not None else getattr(network, "preprocessing", None)
        if preprocessing is not None and not isinstance(preprocessing, Preprocessing):
            raise UsageError(f"preprocessing must be a Preprocessing, not a {type(preprocessing).__name__}.")
        if not isinstance(own, Preprocessing):
            own = Preprocessing()
            notes += (f"preprocessing: ImageNet's defaults, assumed; {called} carries no `preprocessing`.",)
        state = module.state_dict()
        if weights_sha256 is None and not state:
            notes += (f"weights: {called} has none that can be hashed, so its name alone tells it from other models.",)
            weights_sha256 = hashlib.sha256(f"callable {called}".encode()).hexdigest()
        module.eval()
        if device is not None:
            placed(module, device, called)
        place = next((value.device for value in state.values()), torch.device("cpu")) if device is None else device
        side = own.crop or 224
        model = cls(
            spec=in_memory(called),
            name=called,
            arch=type(network).__name__,
            pooling=None,
            placement=None,
            module=module,
            preprocessing=own,
            weights_sha256=weights_sha256 or state_sha256(state),
            parameters=sum(p.numel() for p in module.parameters()),
            num_classes=num_classes or 0,
            class_names=class_names,
            notes=notes,
        )
        if num_classes is None:
            with torch.no_grad():
                logits = model.logits(torch.zeros(1, 3, side, side, dtype=torch.uint8, device=place))
            model = replace(model, num_classes=int(logits.shape[1]), task=task_of(logits))
        if class_names is not None and len(class_names) != model.num_classes:
            raise UsageError(f"{called} has {model.num_classes} classes and {len(class_names)} class names.")
        return model

    def logits(self, images: Tensor) -> Tensor:
        """uint8 [N, 3, H, W] -> float32 [N, K], or [N, K, H, W] of a segmentation network; normalisation included.

        Raises:
            UsageError: the network fails on these images, or answers with something else than logits.
        """
        x = self.preprocessing.normalize(images).contiguous(memory_format=torch.channels_last)
        return ask(self.module, x, self.name).float()

    def folded(self) -> LoadedModel:
        """The same model with batch norms folded into convolutions: faster, equal up to rounding, and said in a note.

        Rounding can change the class of an image whose first two classes are closer than about 1e-6, so folded answers
        are another signature than those of the network as it is.
        """
        count = len(foldable(self.module))
        note = f"{count} batch norms folded into convolutions." if count else "no batch norm could be folded."
        module = fold_batch_norms(self.module).to(memory_format=torch.channels_last)
        return replace(self, module=module, notes=(*self.notes, note))


def placed(module: nn.Module, device: torch.device | str, name: str) -> nn.Module:
    """The module on a device.

    Raises:
        UsageError: there is no such device, or the module has no weights that could be moved.
    """
    try:
        return module.to(device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # a PyTorch without CUDA; no data (meta)
        if isinstance(error, RuntimeError) and out_of_memory(error):
            raise
        raise UsageError(f"{name} cannot be moved to {device}: {explained(error)}.") from None


def in_memory(name: str) -> str:
    """What stands for the spec of a network that no spec can load again."""
    return f"{name} (in memory)"


def ask(network: Callable[[Tensor], Any], x: Tensor, name: str, *, hint: str = "") -> Tensor:
    """The logits of a network for normalised images [N, 3, H, W]: [N, K], or [N, K, H, W] of a segmentation network.

    Maps of logits of another size are upsampled bilinearly to the image's, as such networks are scored. Errors of the
    network become one message.

    Args:
        network: answers a tensor, or something with an attribute or entry `logits` or `out`.
        x: images.
        name: what messages call the network.
        hint: what a user can do when the images are of the wrong size.

    Raises:
        UsageError: it raised an exception (which is the cause of the error), or answered something else.
    """
    try:
        answer = network(x)
    except RobustbenchError:
        raise
    except (Exception, SystemExit) as error:
        if isinstance(error, RuntimeError) and out_of_memory(error):
            raise
        raise UsageError(
            f"{name} failed on images of {x.shape[-1]} x {x.shape[-2]} pixels: {explained(error)}.{hint}"
        ) from error
    if isinstance(answer, Mapping):
        answer = next((answer[key] for key in ("logits", "out") if key in answer), answer)
    answer = getattr(answer, "logits", answer)
    if not isinstance(answer, Tensor) or answer.dim() not in (2, 4) or len(answer) != len(x):
        what = f"shape {tuple(answer.shape)}" if isinstance(answer, Tensor) else f"a {type(answer).__name__}"
        raise UsageError(
            f"{name} answers with {what}; logits [{len(x)}, classes], or [{len(x)}, classes, height, width] of a "
            "segmentation network, were expected."
        )
    if answer.layout is not torch.strided or not answer.is_floating_point():
        raise UsageError(
            f"{name} answers with a tensor of {answer.dtype}, {answer.layout}; dense floating-point logits were "
            "expected."
        )
    if answer.dim() == 4 and answer.shape[2:] != x.shape[2:]:
        return F.interpolate(answer, size=tuple(x.shape[2:]), mode="bilinear", align_corners=False)
    return answer


def task_of(logits: Tensor) -> Task:
    """What a network that answers with such logits does.

    >>> task_of(torch.zeros(1, 21, 32, 32))
    'segmentation'
    """
    return "segmentation" if logits.dim() == 4 else "classification"


def explained(error: BaseException) -> str:
    """An exception of somebody's code as one printable line.

    >>> explained(KeyError("width"))
    "KeyError: 'width'"
    """
    line = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {printable(line)}".rstrip(": .")


class _Called(nn.Module):
    """A function from images to logits, as a module."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


@dataclass(kw_only=True, slots=True)
class Found:
    """What a source hands to `load_model`."""

    module: nn.Module
    arch: str
    preprocessing: Preprocessing
    num_classes: int
    task: Task = "classification"
    sha256: str | None = None
    """None where no single file was read."""
    pooling: str | None = None
    placement: str | None = None
    class_names: tuple[str, ...] | None = None
    card: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    name: str | None = None
