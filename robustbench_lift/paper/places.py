"""Where the data of a study lie: which data sets there are, what a user names for them, what is trained and tested on.

--data cifar100=cifar100:/data/cifar-100-python --data imagenet=imagenet:/data/imagenet
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from robustbench_lift.data.folders import TEST_FOLDERS
from robustbench_lift.data.kinds import KINDS
from robustbench_lift.errors import UsageError, unknown
from robustbench_lift.text import printable

TWO_FOLDERS = ("imagenet", "folder")
"""Kinds of data whose training and test images lie in folders beside each other."""
HELD_OUT = 1 / 6
"""Part of each class that is tested on where one file holds everything, as CIFAR has 50,000 and 10,000 images."""


@dataclass(frozen=True, slots=True)
class DataSet:
    """A data set that a user can name."""

    about: str
    """What it is and what may be named."""
    embedded: bool = False
    """Whether it needs no naming."""
    beside: str = ""
    """The data set whose stored cells these are; where the tree is not named, they are generated."""


PLACES: dict[str, DataSet] = {
    "photos": DataSet("the embedded photographs", embedded=True),
    "cifar100": DataSet("CIFAR-100: cifar100:DIR with the published python files, or an .npz with x and y"),
    "imagenette": DataSet(
        "Imagenette or other folders of photographs: folder:DIR with train and val, one folder a class"
    ),
    "camvid": DataSet("CamVid in SegNet's layout: camvid:DIR"),
    "voc": DataSet("PASCAL VOC 2012 with trainaug: voc:DIR"),
    "scenes": DataSet("the embedded scenes", embedded=True),
    "imagenet": DataSet("ImageNet: imagenet:DIR with train and val, 1,000 WNID folders each"),
    "imagenet-c": DataSet("the official ImageNet-C: imagenet-c:DIR", beside="imagenet"),
    "imagenet-p": DataSet("the official ImageNet-P: imagenet-p:DIR", beside="imagenet"),
}
"""Data sets by name."""
SEPARATE_TEST = "-test"
"""Added to a data set's name where its test images lie elsewhere: `--data cifar100-test=FILE.npz`."""


def parse_places(texts: Sequence[str]) -> dict[str, str]:
    """What `--data NAME=SPEC` says, by name.

    Raises:
        UsageError: no name, an unknown one, or one that is given twice.

    >>> parse_places(["imagenet=imagenet:/data/in"])
    {'imagenet': 'imagenet:/data/in'}
    """
    named = [name for name, place in PLACES.items() if not place.embedded]
    known = [*named, *(f"{name}{SEPARATE_TEST}" for name in named)]
    found: dict[str, str] = {}
    for text in texts:
        name, sign, spec = text.partition("=")
        if not sign or not spec:
            raise UsageError(
                f"--data {printable(text)}: write NAME=SPEC, for example --data "
                f"cifar100=cifar100:/data/cifar-100-python. Names: {', '.join(named)}."
            )
        if name not in known:
            raise unknown("data set", printable(name), named)
        if name in found:
            raise UsageError(f"--data names {name} twice.")
        found[name] = spec
    return found


def missing(data: str, places: Mapping[str, str]) -> str:
    """What a user has to name before a study on `data` can be made; empty where nothing is missing."""
    if data not in PLACES:
        raise unknown("data set", data, PLACES)
    if PLACES[data].embedded or data in places:
        return ""
    return f"--data {data}=SPEC ({PLACES[data].about})"


def training_arguments(data: str, places: Mapping[str, str], options: str = "") -> dict[str, object]:
    """The arguments of `training.data.open_data` for a data set; options are those of the training images."""
    if PLACES[data].embedded:
        return {}
    spec, test = places[data], places.get(f"{data}{SEPARATE_TEST}")
    if options and "?" not in spec:
        spec, test = f"{spec}?{options}", test or spec
    if test is not None:
        return {"data": spec, "test_data": test}
    return {"data": spec, **({"hold_out": HELD_OUT} if _path(spec).suffix == ".npz" else {})}


def evaluation_spec(data: str, places: Mapping[str, str], options: str = "") -> str:
    """The data spec of `run` for the test images of a data set, with the trees of its stored cells.

    Args:
        data: name of the data set.
        places: what the user named.
        options: of the test images, as they follow a `?`.

    >>> evaluation_spec("imagenet", {"imagenet": "imagenet:/nowhere/val", "imagenet-c": "imagenet-c:/c"})
    'imagenet:/nowhere/val,imagenet-c:/c'
    >>> evaluation_spec("camvid", {"camvid": "camvid:/c?split=val"}, "resize=90")
    'camvid:/c?split=val&resize=90'
    """
    if PLACES[data].embedded:
        return data
    separate = places.get(f"{data}{SEPARATE_TEST}")
    spec = separate or places[data]
    kind, colon, _ = spec.partition(":")
    if not colon or kind not in KINDS:
        kind = data if data in KINDS else "folder"
        spec = f"{kind}:{spec}"
    path = _path(spec)
    beside = () if separate is not None or spec.partition(":")[0] not in TWO_FOLDERS else TEST_FOLDERS
    folder = next((path / name for name in beside if (path / name).is_dir()), path)
    head, _, given = spec.partition("?")
    named = {part.partition("=")[0] for part in given.split("&")}
    parts = [given, *(part for part in options.split("&") if part.partition("=")[0] not in named)]
    if path.suffix == ".npz" and separate is None:
        parts.append(f"part=test&hold_out={HELD_OUT!r}")
    query = "&".join(part for part in parts if part)
    text = f"{head.partition(':')[0]}:{folder}" + (f"?{query}" if query else "")
    trees = [places[name] for name, place in PLACES.items() if place.beside == data and name in places]
    return ",".join([text, *trees])


def _path(spec: str) -> Path:
    kind, colon, rest = spec.partition(":")
    text = rest if colon and kind in KINDS else spec
    return Path(text.partition("?")[0]).expanduser()
