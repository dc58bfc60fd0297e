"""Kinds of data with label maps, a class for every pixel, an entry each."""

from __future__ import annotations

from robustbench_lift.data.base import ImageSet
from robustbench_lift.data.geometry import WholeImage
from robustbench_lift.data.kind import Kind, KindOption, Opener, Views, register_kind
from robustbench_lift.data.spec import DataSpec
from robustbench_lift.data.views import PART

MAP_SUITES = {"corruption": "kamann-rother", "perturbation": "imagenet-p"}
_MAP_PROTOCOLS = ("clean", "corruption", "shift")
_MAP_OPTIONS = (
    KindOption("resize", "Shorter side that the network sees, in pixels; resized after the corruption, labels never."),
    KindOption("table", "Severity table of the corruptions: 32, 64, 224 (default), 299 or `nearest`."),
)


def _whole(spec: DataSpec) -> Views:
    """Whole images, of any size."""
    geometry = WholeImage(resize=spec.pixels("resize", None))
    return Views(geometry=geometry, shift=geometry, window=0)


def _maps(name: str, title: str, splits: tuple[str, ...], opener: str) -> None:
    """A kind of images with label maps."""

    def images(spec: DataSpec) -> ImageSet:
        from robustbench_lift.data import label_layouts

        opened: ImageSet = getattr(label_layouts, opener)(spec.path, spec.options.get("split", splits[0]))
        return opened

    def training(spec: DataSpec) -> tuple[Opener, Opener | None]:
        from robustbench_lift.data import label_layouts

        chosen = spec.options.get("split", splits[1])
        return (lambda: getattr(label_layouts, opener)(spec.path, chosen)), (
            lambda: getattr(label_layouts, opener)(spec.path, splits[0])
        )

    register_kind(
        Kind(
            name=name,
            title=title,
            images=images,
            options=(KindOption("split", "Part of the data set.", splits), *_MAP_OPTIONS),
            views=_whole,
            storage=False,
            protocols=_MAP_PROTOCOLS,
            suites=MAP_SUITES,
            table=224,
            training=training,
        )
    )


_maps(
    "voc",
    "PASCAL VOC 2012: JPEGImages, SegmentationClass, ImageSets/Segmentation.",
    ("val", "train", "trainval", "trainaug"),
    "open_voc",
)
_maps("cityscapes", "Cityscapes: leftImg8bit and gtFine.", ("val", "train"), "open_cityscapes")
_maps("ade20k", "ADE20K's SceneParse150: images and annotations.", ("validation", "training"), "open_ade20k")
_maps("camvid", "CamVid in SegNet's layout: train, trainannot, ...", ("test", "train", "val"), "open_camvid")


def _open_label_folder(spec: DataSpec) -> ImageSet:
    from robustbench_lift.data.label_layouts import open_label_folder

    given = {key: spec.options.get(key) for key in ("classes", "void", "name")}
    folders = {key: spec.options[key] for key in ("images", "labels") if key in spec.options}
    return open_label_folder(spec.path, **given, **folders)  # type: ignore[arg-type]


register_kind(
    Kind(
        name="label-folder",
        title="Two folders of equal names: images, and labels of values 0..K-1.",
        images=_open_label_folder,
        options=(
            KindOption("classes", "Number of classes; by default the lines of classes.txt, their names."),
            KindOption("void", "Value that is not counted; 255 by default."),
            KindOption("images", "Name of the folder of images; `images` by default."),
            KindOption("labels", "Name of the folder of label maps; `labels` by default."),
            KindOption("name", "Name of the data set in the signature; the folder's by default."),
            *_MAP_OPTIONS,
            *PART,
        ),
        views=_whole,
        storage=False,
        protocols=_MAP_PROTOCOLS,
        suites=MAP_SUITES,
        table=224,
    )
)


def _open_scenes(spec: DataSpec) -> ImageSet:
    from robustbench_lift.data.scenes import Scenes

    return Scenes()


def _limited_scenes(images: ImageSet, limit: int | None) -> ImageSet:
    from robustbench_lift.data.scenes import Scenes

    return images if limit is None else Scenes.of(limit)


def _scenes_training(spec: DataSpec) -> tuple[Opener, Opener | None]:
    from robustbench_lift.data.scenes import Scenes

    return (lambda: Scenes("train")), Scenes


register_kind(
    Kind(
        name="scenes",
        title="Embedded scenes: shapes over the photographs, 72 pixels, with exact label maps.",
        takes_path=False,
        images=_open_scenes,
        views=_whole,
        limited=_limited_scenes,
        storage=False,
        content=True,
        protocols=_MAP_PROTOCOLS,
        suites=MAP_SUITES,
        table=64,
        margin=8,
        training=_scenes_training,
        normaliser=lambda spec: "scenes/segnet-max",
        models=("scenes/segnet-max", "scenes/segnet-max-blur", "scenes/segnet-lift", "scenes/segnet-lift-no-details"),
    )
)
