"""The severity tables, number by number, against a second transcription of the generator scripts.

One entry a (corruption, size): the parameters of severities 1 to 5, separated by slashes.
"""

from __future__ import annotations

import numpy as np
import pytest

from corruptions import BENCHMARK, EXTRA
from corruptions.registry import CORRUPTIONS, parameters

SCRIPTS = """
gaussian_noise    224  .08 / .12 / .18 / .26 / .38
gaussian_noise    299  .09 / .13 / .19 / .27 / .40
gaussian_noise    64   .04 / .08 / .12 / .15 / .18
gaussian_noise    32   .04 / .06 / .08 / .09 / .10
shot_noise        224  60 / 25 / 12 / 5 / 3
shot_noise        299  50 / 20 / 10 / 5 / 3
shot_noise        64   250 / 100 / 50 / 30 / 15
shot_noise        32   500 / 250 / 100 / 75 / 50
impulse_noise     224  .03 / .06 / .09 / .17 / .27
impulse_noise     299  .04 / .07 / .10 / .18 / .28
impulse_noise     64   .01 / .02 / .05 / .08 / .14
impulse_noise     32   .01 / .02 / .03 / .05 / .07
defocus_blur      224  3,.1 / 4,.5 / 6,.5 / 8,.5 / 10,.5
defocus_blur      299  4,.1 / 5,.5 / 7,.5 / 10,.5 / 12,.5
defocus_blur      64   .5,.6 / 1,.1 / 1.5,.1 / 2.5,.01 / 3,.1
defocus_blur      32   .3,.4 / .4,.5 / .5,.6 / 1,.2 / 1.5,.1
glass_blur        224  .7,1,2 / .9,2,1 / 1,2,3 / 1.1,3,2 / 1.5,4,2
glass_blur        299  .8,1,3 / 1,3,1 / 1.1,2,4 / 1.2,4,2 / 1.6,5,2
glass_blur        64   .1,1,1 / .5,1,1 / .6,1,2 / .7,2,1 / .9,2,2
glass_blur        32   .05,1,1 / .25,1,1 / .4,1,1 / .25,1,2 / .4,1,2
motion_blur       224  10,3 / 15,5 / 15,8 / 15,12 / 20,15
motion_blur       299  12,4 / 17,6 / 17,9 / 17,13 / 22,16
motion_blur       64   10,1 / 10,1.5 / 10,2 / 10,2.5 / 12,3
motion_blur       32   6,1 / 6,1.5 / 6,2 / 8,2 / 9,2.5
snow              224  .1,.3,3,.5,10,4,.8 / .2,.3,2,.5,12,4,.7 / .55,.3,4,.9,12,8,.7 /
    .55,.3,4.5,.85,12,8,.65 / .55,.3,2.5,.85,12,12,.55
snow              299  .1,.3,3,.5,10,4,.8 / .2,.3,2,.5,12,4,.7 / .55,.3,4,.9,12,8,.7 /
    .55,.3,4.5,.85,12,8,.65 / .55,.3,2.5,.85,12,12,.55
snow              64   .1,.2,1,.6,8,3,.8 / .1,.2,1,.5,10,4,.8 / .15,.3,1.75,.55,10,4,.7 /
    .25,.3,2.25,.6,12,6,.65 / .3,.3,1.25,.65,14,12,.6
snow              32   .1,.2,1,.6,8,3,.95 / .1,.2,1,.5,10,4,.9 / .15,.3,1.75,.55,10,4,.9 /
    .25,.3,2.25,.6,12,6,.85 / .3,.3,1.25,.65,14,12,.8
frost             224  1,.4 / .8,.6 / .7,.7 / .65,.7 / .6,.75
frost             299  1,.4 / .8,.6 / .7,.7 / .65,.7 / .6,.75
frost             64   1,.3 / .9,.4 / .8,.45 / .75,.5 / .7,.55
frost             32   1,.2 / 1,.3 / .9,.4 / .85,.4 / .75,.45
fog               224  1.5,2 / 2,2 / 2.5,1.7 / 2.5,1.5 / 3,1.4
fog               299  1.5,2 / 2,2 / 2.5,1.8 / 2.5,1.6 / 3,1.5
fog               64   .4,3 / .7,3 / 1,2.5 / 1.5,2 / 2,1.75
fog               32   .2,3 / .5,3 / .75,2.5 / 1,2 / 1.5,1.75
brightness        224  .1 / .2 / .3 / .4 / .5
brightness        299  .1 / .2 / .3 / .4 / .5
brightness        64   .1 / .2 / .3 / .4 / .5
brightness        32   .05 / .1 / .15 / .2 / .3
contrast          224  .4 / .3 / .2 / .1 / .05
contrast          299  .4 / .3 / .2 / .1 / .05
contrast          64   .4 / .3 / .2 / .1 / .05
contrast          32   .75 / .5 / .4 / .3 / .15
pixelate          224  .6 / .5 / .4 / .3 / .25
pixelate          299  .5 / .4 / .3 / .25 / .2
pixelate          64   .9 / .8 / .7 / .6 / .5
pixelate          32   .95 / .9 / .85 / .75 / .65
jpeg_compression  224  25 / 18 / 15 / 10 / 7
jpeg_compression  299  23 / 16 / 13 / 8 / 5
jpeg_compression  64   65 / 58 / 50 / 40 / 25
jpeg_compression  32   80 / 65 / 58 / 50 / 40
speckle_noise     224  .15 / .2 / .35 / .45 / .6
speckle_noise     299  .16 / .21 / .36 / .46 / .61
speckle_noise     64   .15 / .2 / .25 / .3 / .35
speckle_noise     32   .06 / .1 / .12 / .16 / .2
gaussian_blur     224  1 / 2 / 3 / 4 / 6
gaussian_blur     299  1.5 / 2.5 / 3.5 / 4.5 / 6.5
gaussian_blur     64   .5 / .75 / 1 / 1.25 / 1.5
gaussian_blur     32   .4 / .6 / .7 / .8 / 1
spatter           224  .65,.3,4,.69,.6,0 / .65,.3,3,.68,.6,0 / .65,.3,2,.68,.5,0 /
    .65,.3,1,.65,1.5,1 / .67,.4,1,.65,1.5,1
spatter           299  .65,.3,4,.69,.9,0 / .65,.3,3.5,.68,.9,0 / .65,.3,3,.68,.8,0 /
    .65,.3,1.2,.65,1.8,1 / .67,.4,1.2,.65,1.8,1
spatter           64   .62,.1,.7,.7,.6,0 / .65,.1,.8,.7,.6,0 / .65,.3,1,.69,.6,0 /
    .65,.1,.7,.68,.6,1 / .65,.1,.5,.67,.6,1
spatter           32   .62,.1,.7,.7,.5,0 / .65,.1,.8,.7,.5,0 / .65,.3,1,.69,.5,0 /
    .65,.1,.7,.69,.6,1 / .65,.1,.5,.68,.6,1
saturate          224  .3,0 / .1,0 / 2,0 / 5,.1 / 20,.2
saturate          299  .3,0 / .1,0 / 2,0 / 5,.1 / 20,.2
saturate          64   .3,0 / .1,0 / 2,0 / 5,.1 / 30,.2
saturate          32   .3,0 / .1,0 / 1.5,0 / 2,.1 / 2.5,.2
"""

# (alpha, sigma, range) in units of a side: 244 at 224 pixels (the original's slip), 360 at 299.
ELASTIC = {
    (224, 244): "2,.7,.1 / 2,.08,.2 / .05,.01,.02 / .07,.01,.02 / .12,.01,.02",
    (299, 360): "2,.7,.1 / 2,.08,.2 / .05,.01,.02 / .07,.01,.02 / .12,.01,.02",
    (64, 64): "0,0,.08 / .05,.3,.06 / .1,.08,.06 / .1,.03,.03 / .16,.03,.02",
    (32, 32): "0,0,.08 / .05,.2,.07 / .08,.06,.06 / .1,.04,.05 / .1,.03,.03",
}

# (end, step) of numpy.arange(1, end, step), as the scripts write it, and the number of factors that they get.
ZOOM_LARGE = [(1.11, 0.01, 12), (1.16, 0.01, 16), (1.21, 0.02, 11), (1.26, 0.02, 13), (1.31, 0.03, 11)]
ZOOM_SMALL = [(1.06, 0.01, 7), (1.11, 0.01, 12), (1.16, 0.01, 16), (1.21, 0.01, 21), (1.26, 0.01, 26)]


LINES = SCRIPTS.strip().replace("/\n   ", "/").splitlines()


def numbers(text: str) -> list[tuple[float, ...]]:
    return [tuple(float(number) for number in part.split(",")) for part in text.split("/")]


def found(name: str, size: int, variant: str = "imagenet-c") -> list[tuple[float, ...]]:
    rows = [parameters(name, severity, size, variant) for severity in range(1, 6)]
    return [row if isinstance(row, tuple) else (row,) for row in rows]


@pytest.mark.parametrize("line", LINES, ids=lambda line: "-".join(line.split()[:2]))
def test_rows_are_those_of_the_scripts(line: str) -> None:
    name, size, text = line.split(maxsplit=2)
    assert found(name, int(size)) == numbers(text)
    if size == "224":
        assert found(name, 224, "imagecorruptions") == numbers(text)


@pytest.mark.parametrize(("size", "side"), list(ELASTIC))
def test_elastic_rows_are_multiples_of_a_side(size: int, side: int) -> None:
    expected = [tuple(side * number for number in row) for row in numbers(ELASTIC[size, side])]
    assert found("elastic_transform", size) == expected


def test_the_packages_elastic_transform_has_a_displacement_alone() -> None:
    assert found("elastic_transform", 224, "imagecorruptions") == [
        (250 * factor,) for factor in (0.05, 0.065, 0.085, 0.1, 0.12)
    ]


@pytest.mark.parametrize(("size", "ranges"), [(224, ZOOM_LARGE), (299, ZOOM_LARGE), (64, ZOOM_SMALL), (32, ZOOM_SMALL)])
def test_zoom_factors_are_numpys_ranges_to_the_last_bit(size: int, ranges: list[tuple[float, float, int]]) -> None:
    for (end, step, count), row in zip(ranges, found("zoom_blur", size), strict=True):
        expected = np.arange(1, end, step)
        assert len(expected) == count
        assert list(row) == expected.tolist()


def test_every_built_in_corruption_has_been_compared() -> None:
    compared = {line.split()[0] for line in LINES} | {"elastic_transform", "zoom_blur"}
    assert compared == {*BENCHMARK, *EXTRA} <= set(CORRUPTIONS)
