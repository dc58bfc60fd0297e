"""The two registries: corruptions by name and perturbation sequences by name, and the decorators that fill them.

A corruption is one file: its kernel, and above it the decorator with its severity rows. The same holds for a file of
your own, which only has to be imported:

    from corruptions import corruption

    @corruption("stripes", category="mine", rows=(0.1, 0.2, 0.3, 0.4, 0.5))
    def stripes(images, draws, share):
        \"\"\"The left part of every image turns black.\"\"\"
        result = images.clone()
        result[..., : int(share * images.shape[-1])] = 0
        return result
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor

from corruptions.errors import CorruptionError, unknown
from corruptions.randomness import RandomSource

Rows = tuple[Any, Any, Any, Any, Any]
"""Parameters at severities 1 to 5."""

SIZES: tuple[int, ...] = (32, 64, 224, 299)
"""Image sides that have a table of parameters."""

VARIANTS: tuple[str, ...] = ("imagenet-c", "imagecorruptions")
"""The scripts that made ImageNet-C (default), and the package on PyPI."""

KernelT = TypeVar("KernelT", bound=Callable[..., Tensor])
FramesT = TypeVar("FramesT", bound=Callable[..., Iterator[Tensor]])


@dataclass(frozen=True, slots=True)
class RegisteredCorruption:
    """A kernel, its severities, and how it is called."""

    name: str
    kernel: Callable[..., Tensor]
    """kernel(images uint8 [N, 3, H, W], draws, parameters of one severity) -> uint8 [N, 3, H, W]."""
    category: str
    """noise, blur, weather, digital, or a word of your own."""
    rows: Mapping[int, Rows]
    """Parameters by image side."""
    package_rows: Rows | None
    """Parameters of the variant `imagecorruptions`, at every size."""
    piece: int
    """Images of 224 pixels that a CPU handles at once: few stay in its caches, convolutions want 16 planes or more."""
    keywords: frozenset[str]
    """Which of `variant` and `table` the kernel takes."""

    def parameters(self, severity: int, table: int, variant: str = "imagenet-c") -> Any:
        """The parameters of one severity.

        Raises:
            CorruptionError: the corruption has no rows for this size or variant.
        """
        rows = self.package_rows if variant == "imagecorruptions" else self.rows.get(table)
        if rows is None:
            where = "variant 'imagecorruptions'" if variant == "imagecorruptions" else f"images of {table} pixels"
            has = ", ".join(str(size) for size in sorted(self.rows))
            raise CorruptionError(f"{self.name} has no severities for {where} (it has {has}); choose table={has}.")
        return rows[severity - 1]

    def apply(self, images: Tensor, draws: RandomSource, severity: int, *, variant: str, table: int) -> Tensor:
        """Run the kernel on uint8 [N, 3, H, W]."""
        everything = {"variant": variant, "table": table}
        keywords = {key: everything[key] for key in self.keywords}
        return self.kernel(images, draws, self.parameters(severity, table, variant), **keywords)


@dataclass(frozen=True, slots=True)
class RegisteredPerturbation:
    """A generator of frames, its parameters, and how it is called."""

    name: str
    frames: Callable[..., Iterator[Tensor]]
    """frames(images uint8 [N, 3, H, W], draws, parameters, count) -> count frames uint8 [N, 3, h, w]."""
    category: str
    """noise, blur, weather, geometric, or a word of your own."""
    rows: Mapping[int, Any]
    """Parameters by image side; of noise, one for each of the difficulties 1, 2 and 3."""
    counts: Mapping[int, int]
    """Frames by image side."""
    noise: bool
    """Frames are independent noise on frame 0, as the name says; difficulty is its parameter."""
    whole_image: bool
    """The base image is warped and a window of it shown (keyword `window`); else the window alone is perturbed."""
    unprepared_at: frozenset[int]
    """Sizes at which the benchmark perturbs the photograph as it is and prepares each frame afterwards."""


CORRUPTIONS: dict[str, RegisteredCorruption] = {}
"""Every corruption by name: the 19 of ImageNet-C, and what plug-ins add."""

SEQUENCES: dict[str, RegisteredPerturbation] = {}
"""Every perturbation sequence by name: the 14 of ImageNet-P, and what plug-ins add."""


def corruption(
    name: str,
    *,
    category: str,
    rows: Rows | Mapping[int, Rows],
    package_rows: Rows | None = None,
    piece: int = 4,
) -> Callable[[KernelT], KernelT]:
    """Register a kernel as a corruption.

    Args:
        name: how `corrupt`, protocols and commands call it.
        category: noise, blur, weather, digital, or a word of your own; reports group by it.
        rows: the parameters of severities 1 to 5, for all image sizes or by image side (32, 64, 224, 299).
        package_rows: those of the variant `imagecorruptions`; the rows of 224 when left out.
        piece: images of 224 pixels that a CPU handles at once.

    Returns:
        a decorator for kernel(images, draws, parameters) -> images: uint8 [N, 3, H, W] in (not to be changed) and out.
        `draws` (a `corruptions.randomness.RandomSource`) gives random numbers that depend on the image alone. A kernel
        may take the keywords `variant` and `table`.

    Raises:
        CorruptionError: the name is taken, or there are not five rows.
    """
    tables: dict[int, Rows] = dict(rows) if isinstance(rows, Mapping) else dict.fromkeys(SIZES, rows)
    _check_sizes(name, tables)
    package = package_rows or tables.get(224)
    for which in (*tables.values(), *([package] if package else [])):
        if len(which) != 5:
            raise CorruptionError(f"corruption {name!r}: expected the parameters of 5 severities, found {len(which)}.")

    def register(kernel: KernelT) -> KernelT:
        _check_free(CORRUPTIONS.get(name), name, kernel, "corruption")
        keywords = frozenset(inspect.signature(kernel).parameters) & {"variant", "table"}
        CORRUPTIONS[name] = RegisteredCorruption(name, kernel, category, tables, package, piece, keywords)
        return kernel

    return register


def perturbation(
    name: str,
    *,
    category: str,
    rows: Any,
    count: int | Mapping[int, int] = 31,
    unprepared_at: tuple[int, ...] = (),
) -> Callable[[FramesT], FramesT]:
    """Register a generator of frames as a perturbation sequence.

    Args:
        name: how `perturb`, protocols and commands call it. The frames of a sequence whose name contains `noise` are
            independent noise on frame 0 and are compared with it, as in the benchmark's own test script.
        category: noise, blur, weather, geometric, or a word of your own; reports group by it.
        rows: the parameters, for all image sizes or by image side (32, 64, 224, 299); of noise, a tuple of three, one
            a difficulty.
        count: frames, for all image sizes or by image side.
        unprepared_at: sizes at which the photograph is perturbed as it is, and each frame prepared afterwards.

    Returns:
        a decorator for frames(images, draws, parameters, count), which yields `count` frames, uint8 [N, 3, h, w]. With
        a keyword `window` it gets the base images and the part of them to show, (top, left, height, width); without,
        the images are what is shown.

    Raises:
        CorruptionError: the name is taken.
    """
    tables = dict(rows) if isinstance(rows, Mapping) else dict.fromkeys(SIZES, rows)
    counts = dict(count) if isinstance(count, Mapping) else dict.fromkeys(SIZES, count)
    _check_sizes(name, tables)
    if not tables.keys() <= counts.keys():
        raise CorruptionError(f"perturbation {name!r}: expected a number of frames for each size that has rows.")

    def register(frames: FramesT) -> FramesT:
        _check_free(SEQUENCES.get(name), name, frames, "perturbation")
        whole = "window" in inspect.signature(frames).parameters
        SEQUENCES[name] = RegisteredPerturbation(
            name, frames, category, tables, counts, "noise" in name, whole, frozenset(unprepared_at)
        )
        return frames

    return register


def is_noise(name: str) -> bool:
    """Whether a perturbation's frames are independent noise, which is compared with frame 0 and has difficulties.

    >>> is_noise("shot_noise"), is_noise("tilt")
    (True, False)

    Raises:
        CorruptionError: an unknown name.
    """
    return find_sequence(name).noise


def frame_count(name: str, table: int) -> int:
    """Frames of a perturbation sequence.

    Args:
        name: of the perturbation.
        table: 32, 64, 224 or 299.

    Raises:
        CorruptionError: an unknown name, or a size without parameters.

    >>> frame_count("translate", 224), frame_count("translate", 64), frame_count("tilt", 32)
    (41, 31, 31)
    """
    counts = find_sequence(name).counts
    if table not in counts:
        raise CorruptionError(
            f"{name} has no frames for images of {table} pixels (it has {', '.join(map(str, counts))})."
        )
    return counts[table]


def find_sequence(name: str) -> RegisteredPerturbation:
    """The perturbation of this name.

    Raises:
        CorruptionError: an unknown name, with the near ones.
    """
    if not isinstance(name, str) or name not in SEQUENCES:
        raise unknown("perturbation", name, SEQUENCES)
    return SEQUENCES[name]


def plugin_modules() -> tuple[str, ...]:
    """The modules outside this package that registered something; another process must import them to know it."""
    functions = [*(entry.kernel for entry in CORRUPTIONS.values()), *(entry.frames for entry in SEQUENCES.values())]
    modules = dict.fromkeys(function.__module__ for function in functions)
    return tuple(name for name in modules if not name.startswith("corruptions.") and name != "__main__")


def parameters(name: str, severity: int, table: int, variant: str = "imagenet-c") -> Any:
    """The parameters of one corruption at one severity.

    >>> parameters("fog", 1, 32)
    (0.2, 3)
    """
    return CORRUPTIONS[name].parameters(severity, table, variant)


def _check_sizes(name: str, tables: Mapping[int, object]) -> None:
    strange = [size for size in tables if size not in SIZES]
    if strange or not tables:
        raise CorruptionError(
            f"{name!r}: expected rows for some of the sizes {', '.join(map(str, SIZES))}, found {strange}."
        )


def _check_free(
    taken: RegisteredCorruption | RegisteredPerturbation | None, name: str, new: Callable[..., Any], kind: str
) -> None:
    """Refuse a name that another function holds; the same function again (a module run twice) takes its own place."""
    if taken is None:
        return
    old = taken.kernel if isinstance(taken, RegisteredCorruption) else taken.frames
    if (old.__module__, old.__qualname__) != (new.__module__, new.__qualname__):
        raise CorruptionError(
            f"{kind} {name!r} is registered twice, by {old.__module__} and by {new.__module__}. Rename one."
        )
