"""What a fit can be asked for."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from classifier.grid import PatchGrid
from trainer.calibration import ThresholdRule
from trainer.heads import Balance
from trainer.splits import Protocol

Mode = Literal["frozen", "finetune"]
"""`frozen`: a linear head on ImageNet features. `finetune`: the whole network."""

MODES: tuple[Mode, ...] = get_args(Mode)


class FitOptions(BaseModel):
    """All options of a fit; they are kept in the bundle.

    Attributes:
        network: A key of `classifier.networks.NETWORKS`.
        mode: See `Mode`.
        pretrained: Start from ImageNet weights; `frozen` needs them.
        protocol: How the model is measured; see `trainer.splits.Protocol`.
        folds: Of the protocols `patient` and `thesis`.
        repeats: How often the folds are drawn anew.
        magnification: Of the images that the model is for.
        also: Higher magnifications whose images are trained on too, shrunk, and never tested on.
        also_weight: The share of each class's weight that these images get.
        balance: See `trainer.heads.Balance`.
        threshold_rule: See `trainer.calibration.ThresholdRule`.
        grid: How images are cut.
        seed: Of everything random.
        c: scikit-learn's C of the head's logistic regression, the inverse of its regularisation; `frozen` only.
        epochs: At most; `finetune` only, as are the following.
        learning_rate: Of the head; a pretrained backbone learns ten times slower.
        draws: Patches drawn for each image in an epoch.
        batch_size: Patches in one step.
        patience: Epochs without a better validation loss before training stops.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: str = "efficientnet_lite0"
    mode: Mode = "frozen"
    pretrained: bool = True
    protocol: Protocol = "patient"
    folds: int = Field(default=5, ge=2)
    repeats: int = Field(default=1, ge=1)
    magnification: str = "40X"
    also: tuple[str, ...] = ()
    also_weight: float = Field(default=0.1, ge=0, le=1)
    balance: Balance = "class"
    threshold_rule: ThresholdRule = "balanced_accuracy"
    grid: PatchGrid = PatchGrid()
    seed: int = Field(default=0, ge=0)
    c: float = Field(default=1e-5, gt=0)
    epochs: int = Field(default=20, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    draws: int = Field(default=15, ge=1)
    batch_size: int = Field(default=64, ge=2)
    patience: int = Field(default=5, ge=1)
