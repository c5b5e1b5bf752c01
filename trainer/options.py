"""What a fit can be asked for: each option's default and meaning in one place, for commands, bundles and reports."""

from __future__ import annotations

from typing import Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field

from classifier.grid import PatchGrid
from trainer.choices import Balance, Protocol, ThresholdRule
from trainer.data.records import MAGNIFICATIONS
from trainer.data.tasks import TaskName

Mode = Literal["frozen", "finetune", "scratch"]
"""`frozen`: a linear head on ImageNet features. `finetune`: the whole network, from ImageNet weights. `scratch`: the
whole network, from a random start."""

ALL = "all"
"""The magnification of a model that is for all of them."""

MOST_FOLDS, MOST_REPEATS, MOST_EPOCHS = 100, 100, 1000
"""Far more than anybody trains; with them, all counts of a run stay small numbers."""

MODES: tuple[Mode, ...] = get_args(Mode)


def _field(default: Any, meaning: str, **bounds: Any) -> Any:
    return Field(default=default, description=meaning, **bounds)


class FitOptions(BaseModel):
    """All options of a fit; they are kept in the bundle and in a study's results.

    Each field's description is also the help of the command's option of the same name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    network: str = _field("efficientnet_lite0", "A network of the registry; `python -m trainer networks` lists them.")
    mode: Mode = _field(
        "frozen",
        "frozen fits only the last layer, on features of an ImageNet network: minutes on a CPU. finetune trains the "
        "whole network from ImageNet weights, scratch from a random start as the thesis did: both want a GPU.",
    )
    task: TaskName = _field("malignancy", "What to tell apart: benign from malignant, or the eight tumour types.")
    protocol: Protocol = _field(
        "patient",
        "How the model is measured: folds by patient, leave one patient out, folds by image as in the thesis (whose "
        "numbers are too high, because patients leak), or BreakHis's official lists (which share cases).",
    )
    folds: int = _field(5, "Folds of the protocols patient and thesis.", ge=2, le=MOST_FOLDS)
    repeats: int = _field(1, "Draw the folds anew so many times.", ge=1, le=MOST_REPEATS)
    magnification: str = _field("40X", "Of the images that the model is for; `all` takes all of them together.")
    also: tuple[str, ...] = _field(
        (), "Train on images of this higher magnification too, shrunk (never tested on). May be repeated."
    )
    also_weight: float = _field(0.1, "Share of the training weight that these images get.", ge=0, le=1)
    crops: bool = _field(False, "Train on crops of micrographs too (never tested on).")
    balance: Balance = _field(
        "class",
        "What weighs the same in training: images (none), classes, or within each class also patients; square_root is "
        "between the last two: patients weigh as the square root of the number of their images.",
    )
    threshold_rule: ThresholdRule = _field(
        "balanced_accuracy",
        "How the share of malignant votes that makes a verdict malignant is chosen on out-of-fold predictions: best "
        "balanced accuracy (smoothed), Youden's best index, 95 % sensitivity, or always 0.90 as in the thesis.",
    )
    grid: PatchGrid = _field(
        PatchGrid(),
        "How images are cut: 225 pixels so that every pixel is read, or 224 in steps of 112 as the thesis's code did.",
    )
    seed: int = _field(0, "Of everything random.", ge=0, lt=2**31)
    seeds: int = _field(1, "Train so many networks that differ in their seed, and average their logits.", ge=1, le=32)
    test_time_flips: bool = _field(False, "Average each patch's logits over its four mirrored variants.")
    c: float = _field(1e-5, "frozen: scikit-learn's C of the head, the inverse of its regularisation.", gt=0)
    epochs: int = _field(20, "finetune, scratch: at most so many epochs.", ge=1, le=MOST_EPOCHS)
    patience: int = _field(
        5,
        "finetune, scratch: stop after so many epochs without a better loss on validation patients.",
        ge=1,
        le=MOST_EPOCHS,
    )
    learning_rate: float = _field(1e-3, "finetune, scratch: the highest learning rate.", gt=0)
    backbone_rate: float = _field(
        0.1, "finetune: share of the learning rate that the pretrained layers get.", gt=0, le=1
    )
    schedule: Literal["cosine", "constant"] = _field("cosine", "finetune, scratch: how the learning rate goes on.")
    optimiser: Literal["adamw", "sgd"] = _field("adamw", "finetune, scratch: AdamW, or SGD with momentum 0.9.")
    weight_decay: float = _field(1e-2, "finetune, scratch: of the optimiser.", ge=0)
    ema: float = _field(
        0.99, "finetune, scratch: decay of the moving average of the weights that is kept; 0 for none.", ge=0, lt=1
    )
    draws: int = _field(15, "finetune, scratch: patches drawn of each image in an epoch.", ge=1, le=10_000)
    anywhere: bool = _field(True, "finetune, scratch: draw patches from anywhere in an image, not from the grid alone.")
    turn: bool = _field(True, "finetune, scratch: turn and mirror each patch by chance.")
    stain: float = _field(
        0.2, "finetune, scratch: strengthen or weaken each patch's stains by up to this share; 0 for never.", ge=0, lt=1
    )
    batch_size: int = _field(64, "finetune, scratch: patches in one step.", ge=2, le=10_000)

    @property
    def look(self) -> str:
        """The magnification that images of higher ones are shrunk towards; "" where the model is for all of them."""
        return "" if self.magnification == ALL else self.magnification

    @property
    def most_epochs(self) -> int:
        """Of one fold, all seeds together; 0 for frozen features."""
        return 0 if self.mode == "frozen" else self.epochs * self.seeds

    @property
    def pretrained(self) -> bool:
        """Whether the network starts from ImageNet weights."""
        return self.mode != "scratch"

    def replace(self, **values: Any) -> Self:
        """Return a validated copy with these values changed."""
        return type(self).model_validate({**self.model_dump(), **values})


def contradictions(options: FitOptions) -> list[str]:
    """What cannot work together: sentences, none where all is well. Needs no PyTorch, so that forms can ask."""
    found = []
    if options.mode == "frozen" and options.network == "squeezenet":
        found.append("SqueezeNet's logits pass a ReLU, so no linear head can replace its last layer: use finetune.")
    if options.mode == "frozen" and options.seeds > 1:
        found.append("A head on frozen features has no random start: there are no seeds to average.")
    if options.also and options.protocol in {"thesis", "official"}:
        found.append("Folds that share patients leave no patient whose other magnifications could be added.")
    if options.also and options.magnification == ALL:
        found.append("All magnifications are the model's own already; there is no other one to add.")
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
"""The thesis's method, its leaking folds included."""
