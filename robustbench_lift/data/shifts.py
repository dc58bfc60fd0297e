"""Natural shifts of ImageNet: sets of other photographs, drawings and objects, scored by networks of its 1,000 classes.

<0..999>/*.jpeg                                 ImageNet-V2, three variants, folder k is class k
<wnid>/*                                        ImageNet-Sketch (all classes), ImageNet-R and -A (200 of them)
images/<object>/*.png, mappings/*.json          ObjectNet 1.0, whose own files say which ImageNet classes an object is

Where a set has fewer classes than the network, answers are scored among the classes that its folders name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from robustbench_lift.data.base import ImageSet, Outputs
from robustbench_lift.data.classes import WNID, imagenet_labels, wnids
from robustbench_lift.data.decode import SUFFIXES
from robustbench_lift.data.folders import StoredImages, class_images, list_classes, open_imagenet
from robustbench_lift.data.store import TarStore, open_store
from robustbench_lift.data.subset import Subset
from robustbench_lift.errors import DataError, IncompleteError, UsageError
from robustbench_lift.files import read_json
from robustbench_lift.text import file_name, listed, printable

V2_VARIANTS = ("matched-frequency", "threshold-0.7", "top-images")
"""How the images of ImageNet-V2 were chosen."""


def open_v2(path: Path, *, variant: str | None, classes: str = "numeric") -> StoredImages:
    """ImageNet-V2: 10 images of each of the 1,000 classes.

    Args:
        path: the folder of the class folders.
        variant: one of V2_VARIANTS; None reads it off the folder's name as published.
        classes: `numeric`, as published, or `wnid`.

    Raises:
        UsageError: the variant is not said, or the folder's name says another.
        DataError, IncompleteError: a layout that is not understood, or missing classes.

    Source: Recht, Roelofs, Schmidt and Shankar, "Do ImageNet Classifiers Generalize to ImageNet?", ICML 2019.
    """
    named = next((name for name in V2_VARIANTS if _names(path, name)), None)
    if variant is None and named is None:
        raise UsageError(
            f"{printable(path)}: the name of the folder does not say which ImageNet-V2 it is; add ?variant= with one "
            f"of {', '.join(V2_VARIANTS)}."
        )
    if variant is not None and named is not None and variant != named:
        raise UsageError(f"?variant={variant}: {printable(path)} is named {named}. Name its folder, or its variant.")
    return open_imagenet(_inner(path), classes=classes, name=f"imagenet-v2-{variant or named}")


def _names(path: Path, variant: str) -> bool:
    """Whether a folder is named as a variant was published (`threshold0.7`, too)."""
    pattern = re.escape(variant).replace(r"\-", "-?")
    return re.search(pattern, path.resolve().name) is not None


def open_some_classes(path: Path, *, name: str, count: int, adversarial: bool = False) -> StoredImages:
    """A set of some of ImageNet's classes, scored among these alone: ImageNet-R, ImageNet-A.

    Args:
        path: the folder of the class folders, or a tar of it.
        name: of the set.
        count: classes that the set has; with fewer the task would be easier, so that these are refused.
        adversarial: whether the images were chosen because networks err on them.

    Raises:
        DataError: a layout that is not understood.
        IncompleteError: another number of classes.

    Source: Hendrycks et al., "The Many Faces of Robustness", ICCV 2021, and "Natural Adversarial Examples", CVPR 2021.
    """
    store = open_store(_inner(path))

    def label(folders: Sequence[str], loose: int) -> dict[str, int]:
        imagenet_labels(folders, where=store.location, rule="partial", loose=loose)
        if len(folders) != count:
            raise IncompleteError(
                f"{store.location} has {len(folders):,} class folders, {name} has {count}: answers are scored among "
                "the classes that are there, so that fewer make the task easier. Extract the rest."
            )
        return {wnid: k for k, wnid in enumerate(sorted(folders))}

    found = class_images(store, name=name, label=label)
    found.outputs = _wnid_outputs(found.class_names)
    found.adversarial = adversarial
    return found


def open_objectnet(path: Path) -> StoredImages:
    """ObjectNet 1.0: photographs of objects, of which 113 kinds are ImageNet classes; the others are left out.

    An object stands for one or several ImageNet classes; its score is the largest of their logits. Which they are is
    read from the files `mappings/` that come with the images.

    Raises:
        DataError, IncompleteError: the folder `images` or `mappings` is missing or not as published.

    Source: Barbu et al., "ObjectNet: A large-scale bias-controlled dataset for pushing the limits of object recognition
    models", NeurIPS 2019; scored as by modestyachts/imagenet-testbed, src/eval_settings/objectnet.py.
    """
    store = open_store(path)
    if not {"images", "mappings"} <= set(store.folders("")):
        raise IncompleteError(
            f"{store.location} has no folders `images` and `mappings`: it holds {listed(store.folders('')) or 'none'}. "
            "Name the folder objectnet-1.0 as published; its mappings say which ImageNet classes an object is."
        )
    groups = _objectnet_classes(path / "mappings")
    folders = [name for name in store.folders("images") if name in groups]
    missing = sorted(set(groups) - set(folders))
    if missing:
        raise IncompleteError(
            f"{store.location}/images lacks {len(missing)} of {len(groups)} objects: {listed(missing)}."
        )
    found = list_classes(store, "images", folders, suffixes=SUFFIXES, inner="")
    others = tuple(name for name in store.folders("images") if name not in groups)
    return StoredImages(
        name="objectnet",
        ids=found.ids,
        labels=np.array(found.owners, dtype=np.int64),
        class_names=tuple(folders),
        blobs=store.blobs(found.paths),
        omitted={"folders of objects that are no ImageNet class": others, **found.omitted},
        outputs=Outputs(len(wnids()), tuple(groups[name] for name in folders), "max"),
    )


def _objectnet_classes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Folder of an object -> the ImageNet classes that it is, from the published mappings."""
    try:
        folders = {label: name for name, label in read_json(folder / "folder_to_objectnet_label.json").items()}
        objects = read_json(folder / "objectnet_to_imagenet_1k.json")
        order = {
            int(number): int(index) for index, number in read_json(folder / "pytorch_to_imagenet_2012_id.json").items()
        }
        lines = (folder / "imagenet_to_label_2012_v2").read_text(encoding="utf-8").splitlines()
        index = {line.strip(): order[number] for number, line in enumerate(lines) if line.strip()}
        return {folders[label]: tuple(index[name] for name in text.split("; ")) for label, text in objects.items()}
    except OSError as error:
        raise IncompleteError(f"{printable(folder)}: {error.strerror} ({printable(str(error.filename))}).") from None
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise DataError(
            f"the files of {printable(folder)} do not fit together ({printable(str(error))}). Take one release of them."
        ) from None


def of_classes(images: ImageSet, like: Path) -> Subset:
    """The images of the classes that another folder has, scored among these: ImageNet's val as ImageNet-R counts it.

    Args:
        images: of all 1,000 classes.
        like: a folder, or a tar, of class folders named by WNID.

    Raises:
        DataError: its folders are no WNIDs of ImageNet.
    """
    folders = open_store(_inner(like)).folders("")
    imagenet_labels(folders, where=printable(like), rule="partial")
    names = tuple(sorted(folders))
    outputs = _wnid_outputs(names)
    place = {group[0]: k for k, group in enumerate(outputs.groups)}
    rows = [row for row, label in enumerate(images.labels.tolist()) if label in place]
    part = Subset(
        images, rows, name=f"{images.name}-like-{file_name(like.resolve().name.removesuffix('.tar'), limit=40)}"
    )
    part.labels = np.array([place[label] for label in part.labels.tolist()], dtype=np.int64)
    part.class_names, part.outputs = names, outputs
    return part


def _wnid_outputs(names: Sequence[str]) -> Outputs:
    index = {name: k for k, name in enumerate(wnids())}
    return Outputs(len(index), tuple((index[name],) for name in names))


def _inner(path: Path) -> Path:
    """A folder of class folders, or the one folder in an archive that holds them."""
    store = open_store(path)
    folders = store.folders("")
    if isinstance(store, TarStore) and len(folders) == 1 and not WNID.fullmatch(folders[0]):
        return path / folders[0]
    return path
