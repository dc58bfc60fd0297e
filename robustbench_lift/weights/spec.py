"""A model as one string, and the string as one value. Without weights it is a network to train.

resnet50/lift@weights.safetensors                       our backbones: ARCH/POOLING?OPTIONS@FILE
resnet50/blur?placement=zhang&filter=bin-5@file.pt
resnet8/lift@random                                     untrained weights, when asked for
@weights.safetensors                                    our own file, whose card says what it is
torchvision:resnet50@IMAGENET1K_V1                      torchvision: NAME@WEIGHTS or NAME@FILE
torchvision:resnet50?pooling=lift@final.safetensors     with its downsampling replaced (also timm:)
timm:resnetblur50.bt_in1k                               timm: NAME, NAME@FILE or NAME@FOLDER of the hub
hf:timm/resnetblur50.bt_in1k                            a repository of the Hugging Face hub, or its folder: hf:./copy
segnet/lift?num_classes=11&width=0.125@file             a segmentation network of ours: NAME/PAIR or NAME/POOLING
smp:unet?encoder_name=resnet34@file                     segmentation_models_pytorch: ARCHITECTURE?OPTIONS@FILE
package.module:factory@file                             a function of yours that returns a module
photos/resnet-lift                                      weights that ship with the package
...?bn=reestimate&images=imagenet:/data/train@...       any of them, batch norms estimated anew on clean images
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from robustbench_lift.errors import UsageError, unknown
from robustbench_lift.pooling import parse_options
from robustbench_lift.text import printable

SOURCES = ("zoo", "shipped", "card", "torchvision", "timm", "hf", "smp", "factory")
NORMALISATIONS: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "off": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}
"""mean and std of pixels in 0..1: torchvision's ImageNet values, timm's Inception values, and models that normalise
inside (RobustBench's)."""
RANDOM = "random"
"""In place of a file: weights as they are initialised."""
LIBRARIES = ("torchvision", "timm")
"""Sources whose networks can have their downsampling replaced: ?pooling=lift."""
MOST_CLASSES = 1_000_000


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A model spec, parsed. `ModelSpec.parse(str(spec)) == spec`.

    >>> spec = ModelSpec.parse("resnet50/blur?placement=zhang&filter=bin-5@file.pt")
    >>> spec.name, spec.pooling, spec.placement, dict(spec.options), spec.weights
    ('resnet50', 'blur', 'zhang', {'filter': 'bin-5'}, 'file.pt')
    >>> str(spec)
    'resnet50/blur?placement=zhang&filter=bin-5@file.pt'
    """

    source: str
    """One of SOURCES."""
    name: str = ""
    """Backbone, shipped name, torchvision's or timm's name, repository, or `package.module:factory`."""
    pooling: str | None = None
    """Of our backbones, or what replaces the downsampling of a library's network; None elsewhere."""
    placement: str | None = None
    """None is the backbone's default, or what the file's card says; of a library's network before, after or pools."""
    options: Mapping[str, object] = field(default_factory=dict)
    """Options of the pooling and the network, of the constructor or of the factory."""
    weights: str | None = None
    """A file, the name of published weights, `random`, or None."""
    num_classes: int | None = None
    """K, where the weights do not say it."""
    ema: bool | None = None
    """Which weights of a file that holds two: the moving average or the plain ones; None takes the average."""
    normalize: str | None = None
    """A name of NORMALISATIONS that overrides what comes with the model."""
    download: bool = False
    """Whether named weights may be fetched from the network when they are not in the cache."""
    bn: str | None = None
    """`reestimate`: batch norms get the statistics of clean `images` before the evaluation."""
    images: str | None = None
    """Data spec of these images, without options of its own."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", MappingProxyType(dict(self.options)))
        if self.source not in SOURCES:
            raise unknown("source of a model", self.source, SOURCES)
        if reserved := sorted(
            set(self.options) & {"placement", "num_classes", "ema", "normalize", "download", "bn", "images"}
        ):
            raise UsageError(f"{', '.join(reserved)}: fields of a spec, not options of its model.")
        if self.normalize is not None and self.normalize not in NORMALISATIONS:
            raise unknown("value of normalize", self.normalize, NORMALISATIONS)
        if self.bn not in (None, "reestimate"):
            raise unknown("value of bn", self.bn, ("reestimate",))
        if (self.bn is None) != (self.images is None):
            raise UsageError("?bn=reestimate and &images=KIND:PATH belong together; give both or none.")
        for name in ("pooling", "placement", "images"):
            if not isinstance(getattr(self, name), str | None):
                raise UsageError(f"{name} must be a name, not {getattr(self, name)!r}.")
        for name in ("ema", "download"):
            if getattr(self, name) not in (True, False, None):
                raise UsageError(f"{name} must be true or false, not {getattr(self, name)!r}.")
        count = self.num_classes
        if count is not None and (type(count) is not int or not 1 <= count <= MOST_CLASSES):
            raise UsageError(f"num_classes must be an integer from 1 to {MOST_CLASSES:,}, not {count!r}.")
        if self.source in LIBRARIES and self.placement is not None and self.pooling is None:
            raise UsageError(f"placement={self.placement} places a pooling in {self.name}: add pooling=NAME.")

    def __hash__(self) -> int:
        return hash(str(self))

    @classmethod
    def parse(cls, text: str) -> ModelSpec:
        """The spec that a string stands for.

        Raises:
            UsageError: the string has none of the forms above.
            PoolingError: a query that is not name=value joined by &.
        """
        from robustbench_lift.networks import BACKBONES

        head, at, weights = text.strip().partition("@")
        head, mark, query = head.partition("?")
        if (at and not weights) or (mark and not query) or not text.strip():
            raise UsageError(f"{printable(text)!r} is not a model spec. {_FORMS}")
        options = parse_options(query)
        ours = {key: options.pop(key, None) for key in ("placement", "num_classes", "ema", "normalize", "bn", "images")}
        download = options.pop("download", False)
        common = {**ours, "download": download, "options": options, "weights": weights or None}
        source, colon, name = head.partition(":")
        if colon and source in (*LIBRARIES, "hf", "smp"):
            if source in LIBRARIES:
                common["pooling"] = options.pop("pooling", None)
        elif colon and re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*", head):
            source, name = "factory", head
        elif colon:
            what = f"{printable(source)!r} is no source and no module"
            raise UsageError(f"{printable(text)!r} is not a model spec: {what}. {_FORMS}")
        elif not head:
            source, name = "card", ""
        elif head.partition("/")[0] in BACKBONES:
            name, _, pooling = head.partition("/")
            if "/" in pooling:
                raise UsageError(f"{printable(text)!r}: expected ARCH/POOLING, found {printable(head)!r}. {_FORMS}")
            return cls(source="zoo", name=name, pooling=pooling or None, **common)  # type: ignore[arg-type]
        else:
            source, name = "shipped", head
        if source != "card" and not name:
            raise UsageError(f"{printable(text)!r} names no model. {_FORMS}")
        if ours["placement"] is not None and source not in LIBRARIES:
            raise UsageError(f"{printable(text)!r}: placement belongs to backbones ({', '.join(BACKBONES)}).")
        return cls(source=source, name=name, **common)  # type: ignore[arg-type]

    @property
    def network(self) -> ModelSpec:
        """The network alone: no weights, and nothing that says how they are read.

        >>> str(ModelSpec.parse("torchvision:resnet50?pooling=lift&num_classes=10@final.safetensors").network)
        'torchvision:resnet50?pooling=lift'
        """
        return replace(
            self, weights=None, num_classes=None, ema=None, normalize=None, download=False, bn=None, images=None
        )

    @property
    def slug(self) -> str:
        """The spec as a file name.

        >>> ModelSpec.parse("resnet8/blur?filter=tri-3").slug
        'resnet8-blur-filter=tri-3'
        """
        return re.sub(r"[/?:]", "-", str(self)).replace("&", ",")

    def __str__(self) -> str:
        library = self.source in LIBRARIES
        ours: dict[str, object] = {
            "pooling": self.pooling if library else None,
            "placement": self.placement,
            "num_classes": self.num_classes,
            "ema": self.ema,
            "normalize": self.normalize,
            "download": self.download or None,
            "bn": self.bn,
            "images": self.images,
        }
        given = {**{key: value for key, value in ours.items() if value is not None}, **self.options}
        head = f"{self.source}:{self.name}" if library or self.source in ("hf", "smp") else self.name
        if self.pooling and not library:
            head += f"/{self.pooling}"
        query = "&".join(f"{key}={_written(value)}" for key, value in given.items())
        return head + (f"?{query}" if query else "") + (f"@{self.weights}" if self.weights else "")


def _written(value: object) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "x".join(str(side) for side in value)
    return value if isinstance(value, str) else json.dumps(value)


_FORMS = (
    "Write ARCH/POOLING@FILE (resnet50/lift@weights.safetensors), @FILE for a file of ours, torchvision:NAME@WEIGHTS, "
    "timm:NAME, hf:REPOSITORY, smp:ARCHITECTURE@FILE, package.module:factory@FILE, or a shipped name such as "
    "photos/resnet-lift; options follow the name as ?name=value&name=value."
)
