"""What one fold gave, as plain data that is written to disk."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class FrozenModel(BaseModel):
    """Plain data: never changed, written as JSON and read again exactly."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class PatchMetrics(FrozenModel):
    """How single patches were called: the share that was right, and the mean cross-entropy."""

    accuracy: float
    loss: float


class Epoch(FrozenModel):
    """The numbers of one epoch, counted from 1.

    Training figures are of the augmented patches while they are trained on; validation figures are of the grid's
    patches of the validation images.
    """

    number: int
    training: PatchMetrics
    validation: PatchMetrics | None = None
    stopping_loss: float | None = None
    """Class-balanced loss of the validation images' mean logits, by which training stops; None without validation."""


class FoldResult(FrozenModel):
    """One split of one candidate.

    Attributes:
        name: Of the split.
        images: Numbers, in the data set, of the test images.
        shares: For each test image the share of its patches' votes that each class got: (images, classes).
        logits: Their mean logits: (images, classes).
        patch_confusion: Test patches by truth (rows) and vote (columns).
        training: Of the patches trained on; of the best epoch where there are epochs.
        validation: Of the validation patches in the best epoch; None where nothing was held out.
        test: Of the test patches.
        epochs: Of the first seed; none for frozen features.
        best_epoch: The one whose weights were kept; None without epochs.
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
