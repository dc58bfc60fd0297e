"""What the losses c_u and c_p do: lift with them, without them, and with them kept out of the features."""

from __future__ import annotations

from dataclasses import replace

from robustbench_lift.paper.bands import bands_table
from robustbench_lift.paper.item import Item, Rendering, register_item
from robustbench_lift.paper.results import Results
from robustbench_lift.paper.segmentation import SEGNETS
from robustbench_lift.paper.studies import IMAGENETTE_ALEXNET, IMAGENETTE_GEOMETRY, photos
from robustbench_lift.paper.study import Study
from robustbench_lift.paper.summary import differences_table, means_table
from robustbench_lift.tables.table import Table

FORMS = {
    "lift": "no constraint (the default)",
    "lift?constraint=mse": "mean of squares, gradients into the features: the paper's loss as it is most plainly read",
    "lift?constraint=mse&gradient=filters": "the same distances, gradients into P and U alone",
}
"""The forms of the constraints, as options of lift."""
SHIPPED_FORMS = ("photos/resnet-lift", "photos/resnet-lift-constrained")
"""The forms that ship: without, and the paper's loss."""
OTHERS = ("max", "average", "skip", "blur")
NUMBERS = ("clean_error", "mean_error", "consistency", "mean_flip_probability", "miou", "trimap_miou/2", "mean_miou")
SEEDS = (0, 1, 2)


def _networks(backbone: str) -> tuple[str, ...]:
    """The forms first."""
    return tuple(f"{backbone}/{pooling}" for pooling in (*FORMS, *OTHERS))


def _segnets() -> Study:
    """SegNets with the forms, whose LiftUpPool inverts what the constraints have shaped, beside the rest of Table 6."""
    (study,) = SEGNETS["small"]
    (lift,) = (network for network in study.networks if network.startswith("segnet/lift?"))
    options = lift.partition("?")[2]
    forms = (f"segnet/{form}{'&' if '?' in form else '?'}{options}" for form in FORMS)
    others = (network for network in study.networks if network != lift)
    return replace(study, networks=(*forms, *others), seeds=(0, 1))


STUDIES = (
    Study(
        name="constraints-photos",
        networks=_networks("resnet8-maxpool"),
        recipe="photos",
        seeds=SEEDS,
        protocols=("clean", "corruption", "perturbation", "shift"),
        normaliser="photos/alexnet",
        gmacs=0.005,
        images=(1_920, 480),
    ),
    Study(
        name="constraints-cifar100",
        networks=_networks("resnet8"),
        data="cifar100",
        recipe="cifar-resnet",
        changes={
            "classes": 100,
            "epochs": 40,
            "batch_size": 64,
            "schedule": "one-cycle",
            "weight_decay": 5e-4,
            "augmentation": "none",
        },
        seeds=SEEDS,
        training_images=5_000,
        protocols=("clean", "corruption", "shift"),
        options={"limit": 1_000, "storage": "none"},
        gmacs=0.013,
        images=(5_000, 1_000),
        measured=1.8,  # 1.7 in training, 0.1 in evaluation
    ),
    Study(
        name="constraints-imagenette",
        networks=_networks("resnet8"),
        data="imagenette",
        recipe="imagenette-64",
        changes={"epochs": 16},
        seeds=SEEDS,
        protocols=("clean", "corruption", "shift"),
        options={"limit": 300, "storage": "none"},
        geometry=IMAGENETTE_GEOMETRY,
        normaliser=IMAGENETTE_ALEXNET,
        gmacs=0.014,
        images=(9_469, 300),
        measured=1.9,  # with 5,800 training images: 1.7 in training, 0.2 in evaluation
    ),
    _segnets(),
)


def _forms(study: Study) -> set[str]:
    """The networks of a study that have lift in one of its forms, as tables call them."""
    from robustbench_lift.training.network import Network

    if study.recipe is None:
        return set(SHIPPED_FORMS)
    return {Network.parse(network).spec for network in study.networks[: len(FORMS)]}


def render(results: Results) -> Rendering:
    """For each data set the means over seeds, and the forms against each other and against the other poolings."""
    tables: list[Table] = []
    for study in results.studies:
        part = results.of_study(study)
        labels = list(part.by_network())
        if not labels:
            continue
        lifts = _forms(study)
        forms = [label for label in labels if label in lifts]
        pairs = [(a, b) for k, a in enumerate(forms) for b in (*forms[k + 1 :], *(o for o in labels if o not in forms))]
        where = dict.fromkeys((study.data, study.networks[0].partition("/")[0]))
        title = f"LiftPool's constraints ({', '.join(where)})"
        tables.append(means_table(part, study.name, title, NUMBERS))
        differences = differences_table(part, f"{study.name}-differences", f"{title}: differences", pairs, NUMBERS)
        tables += [differences] if differences.rows else []
        bands = bands_table(part, study, f"{study.name}-bands", f"{title}: what lift makes of its maps")
        tables += [bands] if bands is not None else []
    forms_words = [f"`{name}`: {words}." for name, words in FORMS.items()]
    return Rendering(tables=tuple(tables), notes=tuple(forms_words))


register_item(
    Item(
        name="constraints",
        title="LiftPool's constraints: with, without, and kept out of the features",
        shows="ResNet-8 with lift, trained with c_u and c_p whose gradients reach the features, with the same losses "
        "whose gradients reach P and U alone, and without them, beside other poolings: clean error, mean error under "
        "corruption, shift consistency, flip probability, three seeds, paired by image. SegNets on CamVid with two "
        "seeds: mean intersection over union. And what each lift makes of the maps that enter it: how smooth LL is, "
        "how small the details, how much of the map LiftUpPool lacks without them. Embedded: the two forms that ship.",
        words="The paper minimises c_u = |s - x_o| and c_p = |d|, called L2-norm distances, with weights 0.01 and "
        "0.1; it does not say whether their gradients reach the features, nor whether they are means.",
        studies={"small": STUDIES, "embedded": (photos(),)},
        render=render,
        in_paper=False,
    )
)
