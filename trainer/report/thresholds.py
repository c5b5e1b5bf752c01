"""The thesis's Table 6 for this study: the verdicts under each threshold on the share of malignant votes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trainer.choices import THRESHOLD_RULES, ThresholdRule
from trainer.evaluation.candidates import ScoredCandidate
from trainer.evaluation.threshold_scan import ConfusionCounts, count, scan
from trainer.report import thesis
from trainer.report.document import Cell, Entry, Group, Plot, Table
from trainer.report.drawing import COLOURS, DASHES, canvas, plot
from trainer.report.formatting import RULES, number
from trainer.report.svg import INK


def table(scored: ScoredCandidate, rule: ThresholdRule) -> Table:
    """Return Table 6 of one candidate: the thesis's thresholds, and those that each rule chooses.

    Args:
        scored: A candidate of a binary task.
        rule: The rule that chose the candidate's own thresholds.
    """
    predictions = scored.out_of_fold
    chosen: list[list[Entry]] = []
    for name in THRESHOLD_RULES:
        threshold = predictions.threshold(name)
        chosen.append(
            [f"{number(threshold)}: {RULES[name]}", *_counted(count(predictions, threshold), strong=name == rule)]
        )
    return Table(
        f"Table 6. Threshold on the share of malignant votes: {scored.name}, all out-of-fold predictions",
        ["threshold", "TN", "FP", "FN", "TP", "acc. malignant", "acc. benign", "balanced acc."],
        [
            Group(
                "This study: the thesis's thresholds", [_row(at, count(predictions, at)) for at in thesis.THRESHOLDS]
            ),
            Group("This study: chosen by a rule on these same predictions (bold: the study's rule)", chosen),
            Group(
                "The thesis: ResNet 18, 399 test images of one fold",
                [_row(at, ConfusionCounts(*counts)) for at, counts in thesis.THRESHOLDS.items()],
            ),
        ],
        "A model for new patients would get the thresholds chosen here. They are counted on the same predictions that "
        "they were chosen on, so these counts are slightly too good. Everywhere else in this report, the threshold of "
        "each fold is chosen on the other folds of the same repeat.",
    )


def _row(threshold: float, counts: ConfusionCounts) -> list[Entry]:
    return [number(threshold, 2), *_counted(counts)]


def _counted(counts: ConfusionCounts, *, strong: bool = False) -> list[Cell]:
    shares = [number(share) for share in (counts.sensitivity, counts.specificity, counts.balanced_accuracy)]
    return [Cell(text, strong=strong) for text in (*map(str, counts), *shares)]


def own(scored: Sequence[ScoredCandidate], rules: Sequence[ThresholdRule]) -> Table:
    """Return a table of the thresholds that the folds used, and those chosen on all predictions."""
    rows = []
    for one, rule in zip(scored, rules, strict=True):
        used = one.thresholds if one.thresholds is not None else np.array([np.nan])
        span = number(float(used.min())) if used.min() == used.max() else f"{used.min():.3f} to {used.max():.3f}"
        rows.append([one.name, RULES[rule], span, number(one.out_of_fold.threshold(rule))])
    return Table(
        "Thresholds of all candidates",
        ["candidate", "rule", "used in the folds", "on all predictions"],
        [Group("", rows)],
        words=2,
    )


def curve(scored: ScoredCandidate) -> Plot:
    """Draw sensitivity, specificity and balanced accuracy by threshold."""
    thresholds, counts = zip(*scan(scored.out_of_fold), strict=True)
    lines = {
        "sensitivity (acc. malignant)": [one.sensitivity for one in counts],
        "specificity (acc. benign)": [one.specificity for one in counts],
        "balanced accuracy": [one.balanced_accuracy for one in counts],
    }
    with canvas(7.5, 3.8) as figure:
        axes = figure.subplots()
        for (label, values), colour in zip(lines.items(), COLOURS, strict=False):
            width = 2.4 if label.startswith("balanced") else 1.4
            axes.plot(thresholds, values, color=colour, linewidth=width, drawstyle="steps-post", label=label)
        for rule, dash in zip(THRESHOLD_RULES, DASHES, strict=True):
            at = scored.out_of_fold.threshold(rule)
            label = f"{at:.3f}: {RULES[rule]}"
            axes.axvline(at, color=INK, alpha=0.7, linewidth=1, linestyle=dash, label=label)
        axes.set(
            xlim=(0, 1), ylim=(-0.01, 1.01), xlabel="threshold on the share of malignant votes", ylabel="share correct"
        )
        figure.legend(loc="outside right upper")
        return plot(
            figure,
            "thresholds",
            caption=f"Sensitivity, specificity and balanced accuracy against the threshold: {scored.name}. Vertical "
            "lines: the threshold that each rule chooses on all out-of-fold predictions.",
            alt="Sensitivity falls and specificity rises with the threshold; balanced accuracy is highest between.",
        )
