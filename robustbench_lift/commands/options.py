"""Options that `run` and `plan` share: what is evaluated. Both make the same request of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from robustbench_lift.errors import UsageError

if TYPE_CHECKING:
    from robustbench_lift.protocols.request import Request

Models = Annotated[
    list[str] | None,
    typer.Argument(
        help="Model specs: `resnet50/lift@weights.safetensors`, `torchvision:resnet50@file.pth`, ...; "
        "with photos the shipped ones unless told."
    ),
]
Data = Annotated[str, typer.Option(help="`photos`, `imagenet:/data/imagenet/val`, `imagenet-c:/data/c`, ...")]
Protocols = Annotated[str, typer.Option(help="Which of clean, corruption, perturbation, shift; comma-separated.")]
Corruptions = Annotated[str | None, typer.Option(help="Names, suites or `all`; by default ImageNet-C's 15.")]
Severities = Annotated[str, typer.Option(help="Severities, comma-separated.")]
Perturbations = Annotated[str | None, typer.Option(help="Names, suites or `all`; by default ImageNet-P's 10.")]
Difficulty = Annotated[int, typer.Option(help="Difficulty of perturbations, 1..3.")]
Variant = Annotated[str, typer.Option(help="imagenet-c or imagecorruptions.")]
Storage = Annotated[
    str | None, typer.Option(help="`official` (JPEG q85, H.264) or `none`; official for ImageNet, none for photos.")
]
ShiftMode = Annotated[str, typer.Option(help="crop, parity, diagonal or circular.")]
Draws = Annotated[int, typer.Option(help="Pairs of windows an image in shift consistency.")]
Limit = Annotated[int | None, typer.Option(help="A fixed, class-balanced subset of so many images.")]
Seed = Annotated[int, typer.Option(help="Seed of everything that is drawn.")]
BatchSize = Annotated[int | None, typer.Option(help="Frames in a forward pass; halves itself when memory runs out.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")]
Precision = Annotated[str, typer.Option(help="fp32, tf32, bf16 or fp16; part of the signature.")]
Workers = Annotated[int, typer.Option(min=0, help="Processes that read images.")]

ALL_PROTOCOLS = "clean,corruption,perturbation,shift"
ALL_SEVERITIES = "1,2,3,4,5"


def make_request(
    *,
    data: str,
    protocols: str,
    corruptions: str | None,
    severities: str,
    perturbations: str | None,
    difficulty: int,
    variant: str,
    storage: str | None,
    shift_mode: str,
    draws: int,
    limit: int | None,
    seed: int,
) -> Request:
    """The request that the options stand for.

    Raises:
        UsageError: an option that is empty, or a value that means nothing.

    >>> make_request(
    ...     data="photos", protocols="clean, shift", corruptions=None, severities="5", perturbations=None, difficulty=1,
    ...     variant="imagenet-c", storage=None, shift_mode="crop", draws=5, limit=None, seed=0,
    ... ).protocols
    ('clean', 'shift')
    """
    from robustbench_lift.protocols import Request

    return Request(
        data=data,
        protocols=names("--protocols", protocols),
        corruptions=names("--corruptions", corruptions),
        severities=tuple(integer(s, "severity") for s in names("--severities", severities)),
        perturbations=names("--perturbations", perturbations),
        difficulty=difficulty,
        variant=cast(Any, variant),
        storage=cast(Any, storage),
        shift_mode=cast(Any, shift_mode),
        draws=draws,
        limit=limit,
        seed=seed,
    )


def models_for(request: Request, models: list[str] | None) -> list[str]:
    """The models that are named, or those that ship for the embedded photographs.

    Raises:
        UsageError: none is named for other data.
    """
    specs = list(models or request.models)
    if not specs:
        raise UsageError(
            f"no model given for {request.data}; the shipped ones know the embedded photographs alone. Name at least "
            "one, for example `resnet50/lift@weights.safetensors`; `robustbench-lift list models` shows what there is."
        )
    return specs


def names(option: str, text: str | None) -> tuple[str, ...]:
    """What an option names, comma-separated; None is the option's own default.

    >>> names("--severities", "1, 3")
    ('1', '3')
    """
    if text is None:
        return ()
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    if not found:
        raise UsageError(f"{option} is empty. Name at least one, or leave the option out.")
    return found


def integer(text: str, what: str) -> int:
    """A whole number that was typed."""
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"{what} {text!r} is not a whole number.") from None
