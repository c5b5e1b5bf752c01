"""The results of one fold, as JSON-compatible data that is written to disk."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class FrozenModel(BaseModel):
    """An immutable model that survives a round trip through JSON exactly."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class PatchMetrics(FrozenModel):
    """The metrics of single patches: the accuracy and the mean cross-entropy."""

    accuracy: float
    loss: float


class Epoch(FrozenModel):
    """The metrics of one epoch, counted from 1.

    Training metrics are measured on the augmented patches during training, validation metrics on the grid patches of
    the validation images.
    """

    number: int
    training: PatchMetrics
    validation: PatchMetrics | None = None
    stopping_loss: float | None = None
    """The class-balanced loss of the validation images' mean logits, which stops training; None without validation."""


class FoldResult(FrozenModel):
    """The result of one candidate on one split.

    Attributes:
        name: The name of the split.
        images: Indices of the test images into the data set.
        shares: The share of votes that each class received, for each test image, of shape (images, classes).
        logits: The mean logits of the patches of each test image, of shape (images, classes).
        patch_confusion: The number of test patches by truth (rows) and vote (columns).
        training: The metrics of the training patches, in the best epoch if there are epochs.
        validation: The metrics of the validation patches in the best epoch; None if no images were held out.
        test: The metrics of the test patches.
        epochs: The epochs of the first seed; empty for frozen features.
        best_epoch: The number of the epoch whose weights were kept; None without epochs.
    """

    name: str
    images: list[int]
    shares: list[list[float]]
    logits: list[list[float]]
    patch_confusion: list[list[int]]
    training: PatchMetrics
    validation: PatchMetrics | None = None
    test: PatchMetrics
    epochs: list[Epoch] = Field(default_factory=list)
    best_epoch: int | None = None
