"""What a user asks to evaluate on, as one frozen request, and the protocols it stands for."""

from __future__ import annotations

from dataclasses import dataclass

from robustbench_lift.errors import UsageError, unknown
from robustbench_lift.protocols.base import EvaluationProtocol

PROTOCOLS = ("clean", "corruption", "perturbation", "shift")


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """Data, protocols and their settings, as the command line or a program gives them."""

    data: str = "photos"
    """Data spec: `photos`, or `<kind>:<path>`."""
    protocols: tuple[str, ...] = PROTOCOLS
    """Which protocols, in printed order."""
    corruptions: tuple[str, ...] = ()
    """Names; empty is the benchmark's 15, `all19` all."""
    severities: tuple[int, ...] = (1, 2, 3, 4, 5)
    """Severities of corruptions."""
    perturbations: tuple[str, ...] = ()
    """Names; empty is the benchmark's 10, `all14` all."""
    difficulty: int = 1
    """Difficulty of perturbations, 1..3."""
    variant: str = "imagenet-c"
    """Variant of the corruptions."""
    storage: str | None = None
    """`official`, `none`, or None for what the data call for."""
    shift_mode: str = "crop"
    """Mode of shift consistency."""
    draws: int = 5
    """Draws of shift consistency."""
    limit: int | None = None
    """A fixed, class-balanced subset of so many images."""
    seed: int = 0
    """Seed of every draw."""

    def __post_init__(self) -> None:
        for name in self.protocols:
            if name not in PROTOCOLS:
                raise unknown("protocol", name, PROTOCOLS)
        if not self.protocols:
            raise UsageError(f"no protocol given: any of {', '.join(PROTOCOLS)}.")
        if not self.severities:
            raise UsageError("no severity given: any of 1, 2, 3, 4 and 5.")
        for what in ("protocols", "corruptions", "severities", "perturbations"):
            named = getattr(self, what)
            for name in named:
                if named.count(name) > 1:
                    raise UsageError(f"{what} names {name} more than once.")
        if self.storage not in (None, "official", "none"):
            raise unknown("storage", self.storage, ("official", "none"))

    @property
    def embedded(self) -> bool:
        """Whether the embedded photographs are asked for."""
        return self.data == "photos"

    @property
    def default_normaliser(self) -> str | None:
        """`alexnet` for ImageNet, the shipped AlexNet for the photographs, None where no standard exists."""
        from robustbench_lift.protocols.embedded import NORMALISER

        if self.embedded:
            return NORMALISER
        whole = self.data.partition(":")[0].startswith("imagenet") and "classes=partial" not in self.data
        return "alexnet" if whole else None

    def build(self) -> list[EvaluationProtocol]:
        """The protocols over the images; reading starts later."""
        import corruptions
        from robustbench_lift.protocols import embedded

        if not self.embedded:
            from robustbench_lift.protocols.building import build

            return build(self)
        wanted = embedded.protocols(
            corruptions=_expand(self.corruptions, "all19", corruptions.BENCHMARK, corruptions.EXTRA),
            severities=self.severities,
            perturbations=_expand(
                self.perturbations, "all14", corruptions.PERTURBATIONS, corruptions.EXTRA_PERTURBATIONS
            ),
            difficulty=self.difficulty,
            variant=self.variant,
            stored=self.storage == "official",
            shift_mode=self.shift_mode,
            draws=self.draws,
            limit=self.limit,
            seed=self.seed,
        )
        return [protocol for name in self.protocols for protocol in wanted if protocol.name == name]


def _expand(
    names: tuple[str, ...], everything: str, benchmark: tuple[str, ...], extra: tuple[str, ...]
) -> tuple[str, ...]:
    if not names:
        return benchmark
    return (*benchmark, *extra) if names == (everything,) else names
