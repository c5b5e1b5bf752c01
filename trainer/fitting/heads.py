"""Linear heads on frozen features: balanced logistic regression, folded into the network's last layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from trainer.choices import Balance
from trainer.evaluation.calibration import UNSEEN_LOGIT

if TYPE_CHECKING:
    from torch import nn

Floats = NDArray[np.float64]

_EXPONENTS: dict[Balance, float] = {"none": 0.0, "class": 0.0, "square_root": 0.5, "patient": 1.0}
"""Of the number of a patient's images, by which each of them weighs less."""

_SMALLEST_SCALE = 1e-6


@dataclass(frozen=True)
class TrainingTable:
    """What a head is fitted on: one row an image.

    Attributes:
        features: Mean patch features, of shape (images, width).
        labels: Class numbers, of shape (images,).
        patients: Of shape (images,).
        auxiliary: True for images of other magnifications, of shape (images,).
        auxiliary_weight: Their share of the weight within each class, 0..1.
        balance: How the images are weighted.
    """

    features: Floats
    labels: NDArray[np.int64]
    patients: NDArray[np.str_]
    auxiliary: NDArray[np.bool_]
    auxiliary_weight: float = 0.0
    balance: Balance = "class"

    def rows(self, keep: NDArray[np.bool_] | NDArray[np.intp]) -> TrainingTable:
        """The table of some images."""
        return TrainingTable(
            self.features[keep],
            self.labels[keep],
            self.patients[keep],
            self.auxiliary[keep],
            self.auxiliary_weight,
            self.balance,
        )

    @property
    def weights(self) -> Floats:
        """Of the images, summing to their number; see `sample_weights`."""
        return sample_weights(
            self.labels, self.patients, self.auxiliary, auxiliary_weight=self.auxiliary_weight, balance=self.balance
        )


@dataclass(frozen=True)
class LinearHead:
    """The logits as linear functions of raw features.

    Attributes:
        weight: Of shape (classes, width).
        bias: Of shape (classes,).
    """

    weight: Floats
    bias: Floats

    def logits(self, features: NDArray[np.float32] | Floats) -> Floats:
        """Of shape (rows, classes), for features of shape (rows, width)."""
        values: Floats = features @ self.weight.T + self.bias
        return values

    def fold_into(self, layer: nn.Module) -> None:
        """Write the head into a network's last layer."""
        import torch

        with torch.no_grad():
            parameters = dict(layer.named_parameters())
            parameters["weight"].copy_(torch.from_numpy(self.weight).float().view_as(parameters["weight"]))
            parameters["bias"].copy_(torch.from_numpy(self.bias).float())


def sample_weights(
    labels: NDArray[np.int64],
    patients: NDArray[np.str_],
    auxiliary: NDArray[np.bool_],
    *,
    auxiliary_weight: float,
    balance: Balance,
) -> Floats:
    """Weights under which all classes have the same sum, and auxiliary images their share of it.

    Args:
        labels: Class numbers, of shape (images,).
        patients: Of shape (images,).
        auxiliary: Of shape (images,).
        auxiliary_weight: Share of a class's weight that its auxiliary images get; all of it where it has no others.
        balance: See `Balance`; patients are balanced within each group.

    Returns:
        Of shape (images,), with the number of images as their sum.
    """
    weights = np.zeros(labels.size)
    classes = labels if balance != "none" else np.zeros_like(labels)
    for label in np.unique(classes):
        mine, extra = (classes == label) & ~auxiliary, (classes == label) & auxiliary
        share = auxiliary_weight if mine.any() else 1.0
        for group, total in ((mine, 1.0 - share if extra.any() else 1.0), (extra, share)):
            if group.any():
                weights[group] = total * _even(patients[group], balance)
    scaled: Floats = weights * (labels.size / weights.sum())
    return scaled


def _even(patients: NDArray[np.str_], balance: Balance) -> Floats:
    """Weights of one group's images, summing to one."""
    _, index, counts = np.unique(patients, return_inverse=True, return_counts=True)
    weights = counts[index].astype(np.float64) ** -_EXPONENTS[balance]
    shares: Floats = weights / weights.sum()
    return shares


def fit_head(table: TrainingTable, *, c: float, classes: int = 2) -> LinearHead:
    """Fit class-balanced logistic regression on standardised features.

    With a dozen patients, a search for C inside the training patients chose no better than the default (see
    docs/experiments.md).

    Args:
        table: The training images; a class that none of them has is never predicted.
        c: scikit-learn's C: the smaller, the stronger the regularisation.
        classes: Number of classes.

    Returns:
        The head for raw features: the standardisation is folded into it.
    """
    mean = table.features.mean(axis=0)
    scale = table.features.std(axis=0) + _SMALLEST_SCALE
    # Fewer images than features: in the space that the images span, the same solution costs a fraction.
    left, singular, right = np.linalg.svd((table.features - mean) / scale, full_matrices=False)
    model = LogisticRegression(C=c, max_iter=1000)
    model.fit(left * singular, table.labels, sample_weight=table.weights)
    rows, intercepts = model.coef_, model.intercept_
    if len(model.classes_) == 2:  # noqa: PLR2004 (scikit-learn then gives their difference: half to each side)
        rows, intercepts = np.vstack([-rows / 2, rows / 2]), np.concatenate([-intercepts / 2, intercepts / 2])
    weight, bias = np.zeros((classes, mean.size)), np.full(classes, UNSEEN_LOGIT)
    weight[model.classes_] = (rows @ right) / scale
    bias[model.classes_] = intercepts - weight[model.classes_] @ mean
    return LinearHead(weight, bias)
