"""Linear heads on frozen features: weighted logistic regression, written into the network's last layer."""

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
"""The exponent of the number of a patient's images that divides the weight of each of them."""

_SMALLEST_SCALE = 1e-6


@dataclass(frozen=True)
class TrainingTable:
    """The training data of a head, one row per image.

    Attributes:
        features: The mean patch features, of shape (images, width).
        labels: The class indices, of shape (images,).
        patients: The patient of each image, of shape (images,).
        auxiliary: Whether each image has another magnification, of shape (images,).
        auxiliary_weight: The share of each class's weight that auxiliary images get, 0..1.
        balance: See `Balance`.
    """

    features: Floats
    labels: NDArray[np.int64]
    patients: NDArray[np.str_]
    auxiliary: NDArray[np.bool_]
    auxiliary_weight: float = 0.0
    balance: Balance = "class"

    def rows(self, keep: NDArray[np.bool_] | NDArray[np.intp]) -> TrainingTable:
        """Return the table of some of the images."""
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
        """The weights of the images, whose sum is the number of images; see `sample_weights`."""
        return sample_weights(
            self.labels, self.patients, self.auxiliary, auxiliary_weight=self.auxiliary_weight, balance=self.balance
        )


@dataclass(frozen=True)
class LinearHead:
    """A linear map from features to logits.

    Attributes:
        weight: The weights, of shape (classes, width).
        bias: The bias, of shape (classes,).
    """

    weight: Floats
    bias: Floats

    def logits(self, features: NDArray[np.float32] | Floats) -> Floats:
        """Return the logits, of shape (rows, classes), for features of shape (rows, width)."""
        values: Floats = features @ self.weight.T + self.bias
        return values

    def fold_into(self, layer: nn.Module) -> None:
        """Copy the head into a network's last layer."""
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
    """Return image weights that balance classes and patients, and give auxiliary images their share.

    Args:
        labels: The class indices, of shape (images,).
        patients: The patient of each image, of shape (images,).
        auxiliary: Whether each image has another magnification, of shape (images,).
        auxiliary_weight: The share of a class's weight that its auxiliary images get; all of it for a class that has
            no other images.
        balance: See `Balance`; patients are balanced among the main and among the auxiliary images of a class.

    Returns:
        The weights, of shape (images,); their sum is the number of images.
    """
    weights = np.zeros(labels.size)
    classes = labels if balance != "none" else np.zeros_like(labels)
    for label in np.unique(classes):
        main, extra = (classes == label) & ~auxiliary, (classes == label) & auxiliary
        share = auxiliary_weight if main.any() else 1.0
        for group, total in ((main, 1.0 - share if extra.any() else 1.0), (extra, share)):
            if group.any():
                weights[group] = total * _even(patients[group], balance)
    scaled: Floats = weights * (labels.size / weights.sum())
    return scaled


def _even(patients: NDArray[np.str_], balance: Balance) -> Floats:
    """Return the weights of one group's images; their sum is 1."""
    _, index, counts = np.unique(patients, return_inverse=True, return_counts=True)
    weights = counts[index].astype(np.float64) ** -_EXPONENTS[balance]
    shares: Floats = weights / weights.sum()
    return shares


def fit_head(table: TrainingTable, *, c: float, classes: int = 2) -> LinearHead:
    """Fit weighted logistic regression on standardised features.

    With a dozen patients, a search for C within the training patients did not choose better than the default (see
    docs/experiments.md).

    Args:
        table: The training images; a class without images is never predicted.
        c: scikit-learn's C, the inverse of the regularisation strength.
        classes: The number of classes.

    Returns:
        The head for raw features: it includes the standardisation.
    """
    mean = table.features.mean(axis=0)
    scale = table.features.std(axis=0) + _SMALLEST_SCALE
    # With fewer images than features, the same solution is found much faster in the space that the images span.
    left, singular, right = np.linalg.svd((table.features - mean) / scale, full_matrices=False)
    model = LogisticRegression(C=c, max_iter=1000)
    model.fit(left * singular, table.labels, sample_weight=table.weights)
    rows, intercepts = model.coef_, model.intercept_
    if len(model.classes_) == 2:  # noqa: PLR2004 (scikit-learn then returns the difference of the logits: half for each)
        rows, intercepts = np.vstack([-rows / 2, rows / 2]), np.concatenate([-intercepts / 2, intercepts / 2])
    weight, bias = np.zeros((classes, mean.size)), np.full(classes, UNSEEN_LOGIT)
    weight[model.classes_] = (rows @ right) / scale
    bias[model.classes_] = intercepts - weight[model.classes_] @ mean
    return LinearHead(weight, bias)
