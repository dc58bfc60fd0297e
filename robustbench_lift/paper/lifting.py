"""What the drawings of lift share: a network, a picture, the map that enters a LiftDownPool, and its bands."""

from __future__ import annotations

from dataclasses import dataclass

from robustbench_lift.paper.maps import Maps, Pixels, chosen_channels, lift_of, maps_of, photograph, picture_for
from robustbench_lift.paper.results import Results
from robustbench_lift.paper.studies import cifar_vgg, drawn_embedded, imagenet
from robustbench_lift.paper.study import Scale, Study
from robustbench_lift.pooling.lift import Bands, LiftDownPool
from robustbench_lift.weights import LoadedModel

CHANNELS = 3
"""Rows of a sheet, one a channel."""

LIFT_STUDIES: dict[Scale, tuple[Study, ...]] = {
    "paper": (imagenet("resnet50", ("lift",), (), gmacs=3.9),),
    "small": (cifar_vgg(("lift",), small=True, protocols=(), seeds=(0,), measured=0.24),),
    "embedded": (drawn_embedded("imagenette64/resnet8-lift"),),
}
"""The network of a drawing of lift, at each scale."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lifted:
    """A LiftDownPool at work."""

    model: LoadedModel
    picture: Pixels
    maps: Maps
    pool: LiftDownPool
    bands: Bands
    channels: list[int]

    @property
    def words(self) -> str:
        """Which network, picture, layer and channels, for the note of a sheet."""
        side = self.picture.shape[0]
        return (
            f"{self.model.name}, layer {self.maps.layer}, channels {', '.join(map(str, self.channels))} of "
            f"{self.maps.entering.shape[1]}; picture of {side} x {side} pixels."
        )


def lifted(results: Results) -> Lifted:
    """The first network of a drawing, seeing the picture.

    Raises:
        UsageError: its layer is no LiftDownPool, or lacks a channel that was asked for.
    """
    model = results.models()[0]
    picture = picture_for(model, photograph(results.drawing.image))
    maps = maps_of(model, picture, results.drawing.layer)
    pool = lift_of(maps, model)
    return Lifted(
        model=model,
        picture=picture,
        maps=maps,
        pool=pool,
        bands=pool.cpu().analysis(maps.entering),
        channels=chosen_channels(maps.entering, results.drawing.channels, CHANNELS),
    )
