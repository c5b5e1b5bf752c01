"""Curves that the thesis does not have: ROC, precision-recall, reliability, and risk-coverage."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from sklearn.calibration import calibration_curve
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_curve

from trainer.evaluation.candidates import ScoredCandidate
from trainer.evaluation.metrics import Predictions
from trainer.report.document import Group, Plot, Table
from trainer.report.drawing import COLOURS, canvas, line_styles, plot, shortened, unit_square
from trainer.report.formatting import interval, number, percent
from trainer.report.svg import INK

Floats = NDArray[np.float64]

REFERRED = (0.0, 0.1, 0.2, 0.3)
"""The shares of referred images in the table of referrals."""

_CURVE = np.linspace(0, 0.5, 51)
_BINS = 10


def _binary(one: ScoredCandidate) -> Predictions:
    if not isinstance(one.predictions, Predictions):
        raise TypeError("This curve needs two classes.")
    return one.predictions


def roc(scored: Sequence[ScoredCandidate]) -> Plot:
    """Draw the ROC curves of all candidates, by the mean logit."""
    with canvas(7.5, 4) as figure:
        axes = figure.subplots()
        for one, style in zip(scored, line_styles(), strict=False):
            predictions, area = _binary(one), one.measures["auc"]
            false, true, _ = roc_curve(predictions.labels, predictions.logits)
            label = f"{shortened(one.name)}\nAUC {number(area.value)} ({interval(area)})"
            axes.plot(false, true, label=label, **style)
        axes.plot([0, 1], [0, 1], color=INK, alpha=0.4, linewidth=0.8)
        unit_square(axes, "1 - specificity", "sensitivity")
        figure.legend(loc="outside right upper")
        return plot(
            figure,
            "roc",
            caption="ROC curves of the mean logit of each image, out of fold, with the area under them and its 95 % "
            "interval.",
            alt="ROC curves of all candidates.",
        )


def precision_recall(scored: Sequence[ScoredCandidate]) -> Plot:
    """Draw the precision-recall curves of the malignant class, by the mean logit."""
    with canvas(7.5, 4) as figure:
        axes = figure.subplots()
        for one, style in zip(scored, line_styles(), strict=False):
            predictions = _binary(one)
            precision, recall, _ = precision_recall_curve(predictions.labels, predictions.logits)
            mean = average_precision_score(predictions.labels, predictions.logits)
            axes.plot(recall, precision, label=f"{shortened(one.name)}\naverage precision {number(mean)}", **style)
        prevalence = float(_binary(scored[0]).labels.mean())
        axes.axhline(prevalence, color=INK, alpha=0.4, linewidth=0.8)
        unit_square(axes, "recall (sensitivity)", "precision")
        figure.legend(loc="outside right upper")
        return plot(
            figure,
            "precision-recall",
            caption="Precision and recall of the malignant class by the mean logit, out of fold. Grey line: the share "
            f"of malignant images in this study, {number(prevalence)}; the precision depends on that share.",
            alt="Precision-recall curves of all candidates.",
        )


def reliability(scored: Sequence[ScoredCandidate], best: ScoredCandidate) -> Plot:
    """Draw the reliability diagram of all candidates, and the histogram of the best candidate's probabilities."""
    with canvas(7.5, 5) as figure:
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        for one, style in zip(scored, line_styles(), strict=False):
            predictions, error = _binary(one), one.measures["ece"]
            true, predicted = calibration_curve(predictions.labels, predictions.probabilities, n_bins=_BINS)
            label = f"{shortened(one.name)}\nECE {number(error.value)} ({interval(error)})"
            above.plot(predicted, true, marker="o", markersize=3.5, label=label, **style)
        above.plot([0, 1], [0, 1], color=INK, alpha=0.4, linewidth=0.8)
        above.set(ylim=(-0.03, 1.03), ylabel="share malignant")
        _histogram(below, _binary(best))
        below.set(xlim=(-0.01, 1.01), xlabel="calibrated probability of malignancy", ylabel="predictions")
        figure.legend(loc="outside right upper")
        return plot(
            figure,
            "reliability",
            caption="Reliability: the share of malignant images against their mean calibrated probability, in ten "
            f"equal bins; the diagonal is perfect. Below: the probabilities that {best.name} predicted, by truth.",
            alt="Reliability diagram of all candidates, and a histogram of the best candidate's probabilities.",
        )


def _histogram(axes: Axes, predictions: Predictions) -> None:
    malignant = predictions.labels == 1
    axes.hist(
        [predictions.probabilities[~malignant], predictions.probabilities[malignant]],
        bins=np.linspace(0, 1, 2 * _BINS + 1).tolist(),
        stacked=True,
        color=[COLOURS[5], COLOURS[4]],
        label=["benign", "malignant"],
    )


def keep_certain(one: ScoredCandidate, referred: float) -> NDArray[np.intp]:
    """Return the indices of the predictions that remain after the least certain share is referred; at least one."""
    kept = max(1, round((1 - referred) * one.right.size))
    certain: NDArray[np.intp] = np.argsort(-one.certainty, kind="stable")[:kept]
    return certain


def risk_coverage(scored: Sequence[ScoredCandidate]) -> Plot:
    """Draw the accuracy of the remaining verdicts by the share of images that are referred to a pathologist."""
    with canvas(7.5, 3.6) as figure:
        axes = figure.subplots()
        for one, style in zip(scored, line_styles(), strict=False):
            accuracy = [one.right[keep_certain(one, referred)].mean() for referred in _CURVE]
            axes.plot(100 * _CURVE, accuracy, label=shortened(one.name), **style)
        axes.set(xlim=(0, 50), xlabel="least certain images referred, %", ylabel="accuracy of the remaining verdicts")
        figure.legend(loc="outside right upper")
        return plot(
            figure,
            "risk-coverage",
            caption="Risk and coverage: the accuracy of the remaining verdicts if the least certain images are "
            "referred to a pathologist. The certainty is the calibrated probability of the class of the verdict.",
            alt="Accuracy of the remaining verdicts by the share of images that are referred.",
        )


def referrals(scored: Sequence[ScoredCandidate]) -> Table:
    """Return a table of the remaining verdicts' accuracy and balanced accuracy at a few shares of referred images."""
    return Table(
        "Accuracy of the remaining verdicts when the least certain images are referred to a pathologist",
        ["candidate", *(f"{percent(share)} referred" for share in REFERRED)],
        [
            Group("Accuracy", [[one.name, *(_accuracy(one, share) for share in REFERRED)] for one in scored]),
            Group("Balanced accuracy", [[one.name, *(_balanced(one, share) for share in REFERRED)] for one in scored]),
        ],
    )


def _accuracy(one: ScoredCandidate, referred: float) -> str:
    return number(float(one.right[keep_certain(one, referred)].mean()))


def _balanced(one: ScoredCandidate, referred: float) -> str:
    kept = keep_certain(one, referred)
    recalls = [
        one.right[kept][one.out_of_fold.labels[kept] == label].mean()
        for label in np.unique(one.out_of_fold.labels[kept])
    ]
    return number(float(np.mean(recalls)))
