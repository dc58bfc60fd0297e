"""Parameters of the 14 perturbation sequences for 224, 299, 64 and 32 pixels.

Source: the four generator scripts of ImageNet-P (hendrycks/robustness, `ImageNet-P/create_p`: `make_imagenet_p`,
`make_imagenet_p_inception`, `make_tinyimagenet_p`, `make_cifar_p`), which accompany Hendrycks and Dietterich,
"Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", ICLR 2019, section 4.2.
"""

from __future__ import annotations

from dataclasses import dataclass

PERTURBATIONS: tuple[str, ...] = (
    "gaussian_noise",
    "shot_noise",
    "motion_blur",
    "zoom_blur",
    "snow",
    "brightness",
    "translate",
    "rotate",
    "tilt",
    "scale",
)
"""The 10 sequences of the benchmark, in its order."""

EXTRA_PERTURBATIONS: tuple[str, ...] = ("speckle_noise", "gaussian_blur", "spatter", "shear")
"""The 4 validation sequences; they enter no headline number."""

NOISE: frozenset[str] = frozenset({"gaussian_noise", "shot_noise", "speckle_noise"})
"""Sequences whose difficulty is a parameter of the noise and whose frames are compared with frame 0."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SequenceTable:
    """Parameters of all sequences for one image size; frames are counted from i = 0."""

    size: int
    """Side of the frames in pixels."""
    frames: int = 31
    """Frames of every sequence that `motion_frames` and `translate_frames` do not name."""
    gaussian_noise: tuple[float, float, float]
    """Standard deviation of difficulty 1, 2, 3; image range 0..1."""
    shot_noise: tuple[float, float, float]
    """Photons at full brightness of difficulty 1, 2, 3."""
    speckle_noise: tuple[float, float, float]
    """Standard deviation relative to the pixel of difficulty 1, 2, 3."""
    motion_frames: int = 31
    """Frames of motion_blur; the last has angle 0."""
    motion_blur: tuple[int, float]
    """(radius in pixels, sigma in pixels) of ImageMagick's motion blur."""
    motion_step: float
    """Degrees between frames; frame i has (i - motion_frames + 1) * motion_step."""
    zoom_step: float = 0.004
    """Frame i averages zooms by 1 + zoom_step * j, j = 0..i."""
    snow_layer: tuple[float, float, float, float]
    """(mean, standard deviation, zoom, threshold) of the snow layer."""
    snow_blur: tuple[int, float]
    """(radius, sigma) of the layer's motion blur at angle 4 i - 150 degrees."""
    snow_mix: float = 0.85
    """Weight of the image against its whitened self."""
    brightness_step: float
    """Frame i adds (i - 15) * brightness_step to the value of HSV."""
    translate_frames: int
    """Frames of translate."""
    translate_origin: int
    """Frame i is shifted right by i - translate_origin pixels."""
    tilt_step: float = 1.0
    """Frame i turns by (i - 15) * tilt_step degrees about both axes."""
    scale: tuple[float, float]
    """(step, start) in percent: frame i is scaled by (step * i + start) / 100."""
    gaussian_blur: tuple[float, float, float]
    """(start, step, truncation): frame i has sigma start + step * i, cut at truncation sigmas."""
    spatter_layer: tuple[float, float, float, float]
    """(mean, standard deviation, smoothing sigma, threshold) of the liquid layer."""
    spatter_intensity: float = 0.6
    """Weight of the liquid."""
    spatter_flow: tuple[float, ...]
    """Filter down the columns that moves the liquid between two frames."""

    def count(self, name: str) -> int:
        """Frames of a sequence.

        >>> TABLES[224].count("translate"), TABLES[32].count("motion_blur"), TABLES[64].count("translate")
        (41, 21, 31)
        """
        return {"motion_blur": self.motion_frames, "translate": self.translate_frames}.get(name, self.frames)


TABLES: dict[int, SequenceTable] = {
    224: SequenceTable(
        size=224,
        gaussian_noise=(0.03, 0.05, 0.08),
        shot_noise=(300, 120, 60),
        speckle_noise=(0.05, 0.10, 0.15),
        motion_blur=(10, 3),
        motion_step=4,
        snow_layer=(0.05, 0.3, 3, 0.5),
        snow_blur=(14, 4),
        brightness_step=0.02,
        translate_frames=41,
        translate_origin=20,
        scale=(2.5, 40),
        gaussian_blur=(0.25, 0.035, 6),
        spatter_layer=(0.65, 0.27, 3.7, 0.69),
        spatter_flow=(0.05, 0.1, 0.15, 0.7),
    ),
    299: SequenceTable(
        size=299,
        gaussian_noise=(0.035, 0.055, 0.085),
        shot_noise=(250, 100, 50),
        speckle_noise=(0.06, 0.11, 0.16),
        motion_blur=(13, 3),
        motion_step=4,
        snow_layer=(0.05, 0.3, 3, 0.5),
        snow_blur=(14, 4),
        brightness_step=0.02,
        translate_frames=41,
        translate_origin=20,
        scale=(2.5, 40),
        gaussian_blur=(0.35, 0.035, 6),
        spatter_layer=(0.65, 0.3, 4, 0.69),
        spatter_flow=(0.05, 0.1, 0.15, 0.7),
    ),
    64: SequenceTable(
        size=64,
        gaussian_noise=(0.025, 0.05, 0.075),
        shot_noise=(500, 250, 125),
        speckle_noise=(0.05, 0.10, 0.15),
        motion_blur=(14, 3),
        motion_step=5,
        snow_layer=(0.05, 0.28, 2, 0.5),
        snow_blur=(10, 2.5),
        brightness_step=0.02,
        translate_frames=31,
        translate_origin=15,
        scale=(2.5, 40),
        gaussian_blur=(0.35, 0.014, 7),
        spatter_layer=(0.6, 0.25, 1.75, 0.7),
        spatter_flow=(0.2, 0.8),
    ),
    32: SequenceTable(
        size=32,
        gaussian_noise=(0.02, 0.04, 0.06),
        shot_noise=(700, 400, 200),
        speckle_noise=(0.05, 0.07, 0.1),
        motion_frames=21,
        motion_blur=(6, 1.8),
        motion_step=9,
        snow_layer=(0.05, 0.3, 2, 0.5),
        snow_blur=(10, 2),
        brightness_step=0.015,
        translate_frames=16,
        translate_origin=7,
        tilt_step=0.75,
        scale=(2, 70),
        gaussian_blur=(0.3, 0.015, 7),
        spatter_layer=(0.6, 0.265, 1.75, 0.7),
        spatter_flow=(0.2, 0.8),
    ),
}
"""Size in pixels -> parameters."""
