"""How a photograph becomes what is corrupted or perturbed: the geometry of ImageNet-C's and ImageNet-P's scripts.

Pillow's antialiased bilinear throughout (hendrycks/robustness, `create_c` and `create_p`):

| size | image of ImageNet-C                                  | base of ImageNet-P                                    |
|------|------------------------------------------------------|-------------------------------------------------------|
| 224  | shorter side to 256, centre crop 224                 | shorter side to 256; frames show the centre 224       |
| 299  | centre 87.5 % of each side, resized to 299 x 299     | the same; translate, rotate, tilt and shear warp the  |
|      |                                                      | whole image, then each frame is cropped and resized   |
| 64   | resized to 64 x 64                                   | shorter side to 64; frames show the centre 64;        |
|      |                                                      | motion_blur blurs the photograph first                |
| 32   | as it is                                             | as it is                                              |

64 is Tiny-ImageNet-P's geometry. Its script leaves motion_blur's frames of a photograph that is not square uncropped;
here they show the centre as all other frames do.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from corruptions.errors import CorruptionError
from corruptions.layout import Pixels, channels_last
from corruptions.perturbations import frames, perturb
from corruptions.randomness import Draws
from corruptions.registry import find_sequence


def resized(image: Image.Image, side: int) -> Image.Image:
    """Shorter side to `side`, longer side in proportion, fraction dropped."""
    width, height = image.size
    if width < height:
        return image.resize((side, int(side * height / width)), Image.Resampling.BILINEAR)
    return image.resize((int(side * width / height), side), Image.Resampling.BILINEAR)


def centre_cropped(image: Image.Image, width: int, height: int) -> Image.Image:
    """The centre; offsets rounded half to even."""
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))


def prepared(image: Image.Image, size: int) -> Image.Image:
    """The square that is corrupted.

    Raises:
        CorruptionError: size 32 and the image is not 32 x 32.

    >>> prepared(Image.new("RGB", (500, 375)), 224).size
    (224, 224)
    """
    if size == 224:
        return centre_cropped(resized(image, 256), 224, 224)
    if size == 299:
        inner = centre_cropped(image, int(image.width * 0.875), int(image.height * 0.875))
        return inner.resize((299, 299), Image.Resampling.BILINEAR)
    if size == 64:
        return image if image.size == (64, 64) else image.resize((64, 64), Image.Resampling.BILINEAR)
    if image.size != (size, size):
        raise CorruptionError(f"is {image.width}x{image.height} pixels; size {size} takes images as they are")
    return image


def sequence(
    image: Image.Image, name: str, *, size: int, difficulty: int, seed: int, image_id: str, device: str = "cpu"
) -> Pixels:
    """The perturbation sequence of one photograph, prepared as the benchmark of this size was.

    Args:
        image: RGB, of any size; 32 x 32 for size 32.
        name: of the perturbation.
        size: side of the frames, 224, 299, 64 or 32: it fixes preparation and parameters.
        difficulty: 1..3; parameter of noise.
        seed: every draw comes from (seed, name, difficulty, image id).
        image_id: of the photograph.
        device: where it is made.

    Returns:
        uint8 [T, size, size, 3].

    Raises:
        CorruptionError: an unknown name, or size 32 and the image is not 32 x 32.
    """
    entry = find_sequence(name)
    if size in entry.unprepared_at:
        draws = Draws(seed, name, difficulty if entry.noise else 1, [image_id], device)
        made = frames(_batch(image, device), name, size, draws, difficulty=difficulty)
        pictures = (Image.fromarray(channels_last(frame[0])) for frame in made)
        return np.stack([np.asarray(_frame(picture, size)) for picture in pictures])
    shorter = {224: 256, 64: 64}.get(size)
    base = prepared(image, size) if shorter is None else resized(image, shorter)
    crop = None if shorter is None else size
    options = {"difficulty": difficulty, "seed": seed}
    found = perturb(_batch(base, device), name, ids=[image_id], table=size, crop=crop, **options)
    return channels_last(found[0])


def _frame(picture: Image.Image, size: int) -> Image.Image:
    """What a frame shows of a perturbed photograph."""
    return centre_cropped(resized(picture, size), size, size) if size == 64 else prepared(picture, size)


def _batch(image: Image.Image, device: str) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].to(device)
