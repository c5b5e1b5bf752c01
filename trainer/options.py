"""The options of a fit: each default and meaning in one place, for commands, forms, bundles and reports."""

from __future__ import annotations

from typing import Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field

from classifier.grid import PatchGrid
from trainer.choices import Balance, Protocol, ThresholdRule
from trainer.data.records import MAGNIFICATIONS
from trainer.data.tasks import TaskName

Mode = Literal["frozen", "finetune", "scratch"]
"""`frozen`: a linear head on ImageNet features. `finetune`: the whole network, from ImageNet weights. `scratch`: the
whole network, from random weights."""

ALL = "all"
"""The value of `magnification` for a model that reads images of every magnification."""

MAX_FOLDS, MAX_REPEATS, MAX_EPOCHS = 100, 100, 1000
"""Bounds far above any useful value; they keep all counts of a training run small."""

MODES: tuple[Mode, ...] = get_args(Mode)


def _field(default: Any, help_text: str, **bounds: Any) -> Any:
    return Field(default=default, description=help_text, **bounds)


class FitOptions(BaseModel):
    """All options of a fit; the bundle and a study's results store them.

    The description of each field is the help of the command-line option and of the form field of the same name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    network: str = _field(
        "efficientnet_lite0", "The network architecture; `python -m trainer networks` lists all of them."
    )
    mode: Mode = _field(
        "frozen",
        "frozen fits the last layer only, on features of an ImageNet network, and takes minutes on a CPU. finetune "
        "trains the whole network from ImageNet weights, scratch from random weights as in the thesis; both need a "
        "GPU.",
    )
    task: TaskName = _field(
        "malignancy", "The classes to distinguish: benign and malignant, or the eight tumour types."
    )
    protocol: Protocol = _field(
        "patient",
        "How the model is evaluated: with folds by patient, leaving one patient out at a time, with folds by image as "
        "in the thesis (the metrics are too high, because patients leak), or with BreakHis's official lists (which "
        "share cases between training and test).",
    )
    folds: int = _field(5, "Number of folds for the protocols patient and thesis.", ge=2, le=MAX_FOLDS)
    repeats: int = _field(1, "Number of times the folds are redrawn.", ge=1, le=MAX_REPEATS)
    magnification: str = _field(
        "40X", "The magnification of the images that the model is for; `all` uses all magnifications together."
    )
    also: tuple[str, ...] = _field(
        (),
        "Also train on images of this higher magnification, scaled down; they are never used for testing. Repeat the "
        "option for several.",
    )
    also_weight: float = _field(
        0.1, "Share of the training weight that images of other magnifications get.", ge=0, le=1
    )
    crops: bool = _field(False, "Also train on crops of micrographs; they are never used for testing.")
    balance: Balance = _field(
        "class",
        "What gets equal weight in training: every image (none), every class, or every class and, within it, every "
        "patient. square_root lies between the last two: a patient's weight is the square root of the number of their "
        "images.",
    )
    threshold_rule: ThresholdRule = _field(
        "balanced_accuracy",
        "How the threshold is chosen on out-of-fold predictions, above which the share of malignant votes makes the "
        "verdict malignant: for the best balanced accuracy (smoothed), for Youden's best index, for 95 % sensitivity, "
        "or always 0.90 as in the thesis.",
    )
    grid: PatchGrid = _field(
        PatchGrid(),
        "How images are cut into patches: 225 pixels wide so that every pixel is read, or 224 pixels in steps of 112 "
        "as in the thesis's code.",
    )
    seed: int = _field(0, "The seed of all random numbers.", ge=0, lt=2**31)
    seeds: int = _field(
        1, "Number of networks that are trained with different seeds and whose logits are averaged.", ge=1, le=32
    )
    test_time_flips: bool = _field(False, "Average each patch's logits over the patch and its three mirror images.")
    c: float = _field(1e-5, "frozen: scikit-learn's C of the head, the inverse of the regularisation strength.", gt=0)
    epochs: int = _field(20, "finetune, scratch: maximum number of epochs.", ge=1, le=MAX_EPOCHS)
    patience: int = _field(
        5,
        "finetune, scratch: number of epochs without a lower loss on validation patients after which training stops.",
        ge=1,
        le=MAX_EPOCHS,
    )
    learning_rate: float = _field(1e-3, "finetune, scratch: the maximum learning rate.", gt=0)
    backbone_rate: float = _field(
        0.1, "finetune: learning rate of the pretrained layers, as a share of the learning rate.", gt=0, le=1
    )
    schedule: Literal["cosine", "constant"] = _field("cosine", "finetune, scratch: the learning rate schedule.")
    optimiser: Literal["adamw", "sgd"] = _field(
        "adamw", "finetune, scratch: the optimiser, AdamW or SGD with momentum 0.9."
    )
    weight_decay: float = _field(1e-2, "finetune, scratch: the optimiser's weight decay.", ge=0)
    ema: float = _field(
        0.99,
        "finetune, scratch: decay of the exponential moving average of the weights, which becomes the model; 0 for no "
        "average.",
        ge=0,
        lt=1,
    )
    draws: int = _field(15, "finetune, scratch: number of patches drawn from each image per epoch.", ge=1, le=10_000)
    anywhere: bool = _field(
        True, "finetune, scratch: draw patches from any place in an image instead of the grid only."
    )
    turn: bool = _field(True, "finetune, scratch: rotate and mirror each patch at random.")
    stain: float = _field(
        0.2,
        "finetune, scratch: strengthen or weaken the stains of each patch at random by up to this share; 0 for no "
        "change.",
        ge=0,
        lt=1,
    )
    batch_size: int = _field(64, "finetune, scratch: number of patches per training step.", ge=2, le=10_000)

    @property
    def target_magnification(self) -> str:
        """The magnification that images of higher ones are scaled down to; "" for a model for all magnifications."""
        return "" if self.magnification == ALL else self.magnification

    @property
    def max_epochs(self) -> int:
        """The maximum number of epochs per fold, summed over all seeds; 0 for frozen features."""
        return 0 if self.mode == "frozen" else self.epochs * self.seeds

    @property
    def pretrained(self) -> bool:
        """Whether the network starts from ImageNet weights."""
        return self.mode != "scratch"

    def replace(self, **values: Any) -> Self:
        """Return a validated copy with these values changed."""
        return type(self).model_validate({**self.model_dump(), **values})


def contradictions(options: FitOptions) -> list[str]:
    """Return one sentence for each pair of options that contradict each other.

    The function needs no PyTorch, so that forms can call it.
    """
    found = []
    if options.mode == "frozen" and options.network == "squeezenet":
        found.append("SqueezeNet's logits pass a ReLU, so no linear head can replace its last layer: use finetune.")
    if options.mode == "frozen" and options.seeds > 1:
        found.append("A head on frozen features does not depend on the seed: there are no seeds to average.")
    if options.also and options.protocol in {"thesis", "official"}:
        found.append(
            "Folds that share patients leave no patient whose images of other magnifications can be added without a "
            "leak."
        )
    if options.also and options.magnification == ALL:
        found.append("The model is for all magnifications already; there is no other one to add.")
    if options.magnification in options.also:
        found.append(f"{options.magnification} is the model's own magnification, not another one.")
    known = (*MAGNIFICATIONS, ALL)
    return found + [
        f"{wanted} is not a magnification; there are {', '.join(known)}."
        for wanted in (options.magnification, *options.also)
        if wanted not in known
    ]


THESIS = FitOptions(
    mode="scratch", protocol="thesis", folds=4, threshold_rule="thesis", balance="none",
    epochs=20, patience=20, learning_rate=1e-3, schedule="constant", optimiser="sgd", weight_decay=0, ema=0,
    anywhere=False, turn=False, stain=0,
)  # fmt: skip
"""The thesis's method, including its folds that leak patients."""
