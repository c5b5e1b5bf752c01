"""The comparison of two models on the same images: paired differences of all metrics, and a table of the verdicts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from trainer.evaluation import metrics, multiclass
from trainer.evaluation.metrics import LOWER_IS_BETTER, MEASURES, Estimate, Predictions, draw_patients, estimate
from trainer.evaluation.multiclass import ClassPredictions

Floats = NDArray[np.float64]
AnyPredictions: TypeAlias = Predictions | ClassPredictions

DRAWS = 2000
"""The default number of bootstrap samples."""


@dataclass(frozen=True)
class MetricDifference:
    """A metric of two models, A and B, and its difference.

    Attributes:
        measure: The metric's name; see `trainer.evaluation.metrics.Metrics` and
            `trainer.evaluation.multiclass.ClassMetrics`.
        a: The value of A.
        b: The value of B.
        difference: B - A, with the 95 % interval of the paired bootstrap.
        b_better: The share of bootstrap samples in which B is better than A; ties count half.
    """

    measure: str
    a: float
    b: float
    difference: Estimate
    b_better: float


@dataclass(frozen=True)
class ContingencyTable:
    """A contingency table of the correct and wrong verdicts of two models on the same images.

    Attributes:
        both_right: Both verdicts are correct.
        only_a_right: The verdict of A is correct, that of B is wrong.
        only_b_right: The verdict of B is correct, that of A is wrong.
        both_wrong: Both verdicts are wrong.
        verdicts_differ: The two verdicts differ.
    """

    both_right: int
    only_a_right: int
    only_b_right: int
    both_wrong: int
    verdicts_differ: int

    @classmethod
    def of(cls, a: AnyPredictions, b: AnyPredictions) -> ContingencyTable:
        """Count the verdicts of two sets of predictions for the same images in the same order."""
        right_a, right_b = a.verdicts == a.labels, b.verdicts == b.labels
        return cls(
            both_right=int((right_a & right_b).sum()),
            only_a_right=int((right_a & ~right_b).sum()),
            only_b_right=int((~right_a & right_b).sum()),
            both_wrong=int((~right_a & ~right_b).sum()),
            verdicts_differ=int((a.verdicts != b.verdicts).sum()),
        )

    @property
    def total(self) -> int:
        """The number of verdicts that were compared."""
        return self.both_right + self.only_a_right + self.only_b_right + self.both_wrong


@dataclass(frozen=True)
class StudyComparison:
    """The comparison of two candidates of two studies on the images that both tested.

    Attributes:
        name_a: The folder and the candidate of study A.
        name_b: The folder and the candidate of study B.
        images: The number of images that both tested.
        patients: The number of patients of these images.
        paired: Whether each prediction has a counterpart in the other study. If not, the mean over the repeats is
            compared for each image.
        warnings: The reasons why the comparison may be unfair, one sentence each.
        differences: The metrics with their differences, in the order of `trainer.evaluation.metrics.MEASURES`.
        verdicts: The counts of correct and wrong verdicts.
        intended_use: The intended use of the numbers, as a sentence.
    """

    name_a: str
    name_b: str
    images: int
    patients: int
    paired: bool
    warnings: tuple[str, ...]
    differences: tuple[MetricDifference, ...]
    verdicts: ContingencyTable
    intended_use: str


@dataclass(frozen=True)
class PairedEstimate:
    """A metric of A and B and its difference, each with the 95 % interval of the same bootstrap samples."""

    a: Estimate
    b: Estimate
    difference: Estimate
    b_better: float


def paired_bootstrap(
    a: AnyPredictions, b: AnyPredictions, *, draws: int = DRAWS, seed: int = 0
) -> dict[str, PairedEstimate]:
    """Estimate every metric of A and B, and B - A; each bootstrap sample of patients is used for both.

    Args:
        a: The predictions of A.
        b: The predictions of B for the same images in the same order.
        draws: Number of bootstrap samples.
        seed: Seed of the bootstrap.

    Returns:
        The estimates by the metric's name; NaN for a metric that needs a class without images.
    """
    once, drawn = np.ones((1, a.labels.size)), draw_patients(a.labels, a.patients, draws, seed)
    values_a, values_b = measures(once, a), measures(once, b)
    samples_a, samples_b = measures(drawn, a), measures(drawn, b)
    estimates = {}
    for name in values_a:
        value_a, value_b = float(values_a[name][0]), float(values_b[name][0])
        difference = samples_b[name] - samples_a[name]
        gain = -difference if name in LOWER_IS_BETTER else difference
        estimates[name] = PairedEstimate(
            a=estimate(value_a, samples_a[name]),
            b=estimate(value_b, samples_b[name]),
            difference=estimate(value_b - value_a, difference),
            b_better=float(((np.sign(gain) + 1) / 2).mean()),
        )
    return estimates


def differences(
    a: AnyPredictions, b: AnyPredictions, *, draws: int = DRAWS, seed: int = 0
) -> tuple[MetricDifference, ...]:
    """Return the difference of every metric, in the order of `MEASURES`; see `paired_bootstrap`."""
    estimates = paired_bootstrap(a, b, draws=draws, seed=seed)
    return tuple(
        MetricDifference(name, paired.a.value, paired.b.value, paired.difference, paired.b_better)
        for name in MEASURES
        if (paired := estimates.get(name)) is not None
    )


def measures(weights: Floats, predictions: AnyPredictions) -> dict[str, Floats]:
    """Compute every metric for every row of image weights, by the kind of predictions.

    Args:
        weights: The number of times that each image counts, of shape (draws, images).
        predictions: The predictions for the images.

    Returns:
        Arrays of shape (draws,), by the metric's name.
    """
    if isinstance(predictions, ClassPredictions):
        return multiclass.measures(weights, predictions)
    return metrics.measures(weights, predictions)
