"""The thesis's Table 6: what each threshold on the share of malignant votes makes of the verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from trainer.choices import THRESHOLD_RULES, ThresholdRule
from trainer.evaluation.out_of_fold import OutOfFold
from trainer.report import thesis
from trainer.report.document import Cell, Entry, Group, Plot, Table
from trainer.report.drawing import COLOURS, DASHES, INK, canvas, plot
from trainer.report.formatting import RULES, number
from trainer.report.scored import Scored

SCAN = np.linspace(0, 0.995, 200).round(3)
"""The thresholds of the fine scan."""


class Counts(NamedTuple):
    """Predictions by truth and verdict."""

    tn: int
    fp: int
    fn: int
    tp: int

    @property
    def malignant(self) -> float:
        """Accuracy on the malignant images: sensitivity."""
        return self.tp / (self.tp + self.fn)

    @property
    def benign(self) -> float:
        """Accuracy on the benign images: specificity."""
        return self.tn / (self.tn + self.fp)

    @property
    def balanced(self) -> float:
        """The mean of the two."""
        return (self.malignant + self.benign) / 2


def count(found: OutOfFold, threshold: float) -> Counts:
    """The pooled out-of-fold verdicts, malignant where the share is above the threshold."""
    called, malignant = found.scores.malignant_share > threshold, found.labels == 1
    return Counts(
        int((~called & ~malignant).sum()),
        int((called & ~malignant).sum()),
        int((~called & malignant).sum()),
        int((called & malignant).sum()),
    )


def scan(found: OutOfFold) -> Iterator[tuple[float, Counts]]:
    """All thresholds of `SCAN`."""
    for threshold in SCAN.tolist():
        yield threshold, count(found, threshold)


def table(scored: Scored, rule: ThresholdRule) -> Table:
    """Table 6 of one candidate: the thesis's thresholds, and those that each rule chooses.

    Args:
        scored: Of two classes.
        rule: The one by which the candidate's own thresholds were chosen.
    """
    found = scored.found
    chosen: list[list[Entry]] = []
    for name in THRESHOLD_RULES:
        threshold = found.threshold(name)
        chosen.append([f"{number(threshold)}: {RULES[name]}", *_counted(count(found, threshold), strong=name == rule)])
    return Table(
        f"Table 6. Threshold on the share of malignant votes: {scored.name}, all out-of-fold predictions",
        ["threshold", "TN", "FP", "FN", "TP", "acc. malignant", "acc. benign", "balanced acc."],
        [
            Group("This study: the thesis's thresholds", [_row(at, count(found, at)) for at in thesis.THRESHOLDS]),
            Group("This study: chosen by a rule on these same predictions (bold: the study's rule)", chosen),
            Group(
                "The thesis: ResNet 18, 399 test images of one fold",
                [_row(at, Counts(*counts)) for at, counts in thesis.THRESHOLDS.items()],
            ),
        ],
        "The thresholds chosen here are what a model for new patients would get; counted on the predictions that they "
        "were chosen on, they look a little too good. Everywhere else in this report each fold has the threshold that "
        "its repeat's other folds choose.",
    )


def _row(threshold: float, counts: Counts) -> list[Entry]:
    return [number(threshold, 2), *_counted(counts)]


def _counted(counts: Counts, *, strong: bool = False) -> list[Cell]:
    shares = [number(share) for share in (counts.malignant, counts.benign, counts.balanced)]
    return [Cell(text, strong=strong) for text in (*map(str, counts), *shares)]


def own(scored: Sequence[Scored], rules: Sequence[ThresholdRule]) -> Table:
    """The thresholds that were used, fold by fold, and those that all predictions together choose."""
    rows = []
    for one, rule in zip(scored, rules, strict=True):
        used = one.thresholds if one.thresholds is not None else np.array([np.nan])
        span = number(float(used.min())) if used.min() == used.max() else f"{used.min():.3f} to {used.max():.3f}"
        rows.append([one.name, RULES[rule], span, number(one.found.threshold(rule))])
    return Table(
        "Thresholds of all candidates",
        ["candidate", "rule", "used in the folds", "on all predictions"],
        [Group("", rows)],
        words=2,
    )


def curve(scored: Scored) -> Plot:
    """Sensitivity, specificity and balanced accuracy against the threshold."""
    thresholds, counts = zip(*scan(scored.found), strict=True)
    lines = {
        "sensitivity (acc. malignant)": [one.malignant for one in counts],
        "specificity (acc. benign)": [one.benign for one in counts],
        "balanced accuracy": [one.balanced for one in counts],
    }
    with canvas(7.5, 3.8) as figure:
        axes = figure.subplots()
        for (label, values), colour in zip(lines.items(), COLOURS, strict=False):
            width = 2.4 if label.startswith("balanced") else 1.4
            axes.plot(thresholds, values, color=colour, linewidth=width, drawstyle="steps-post", label=label)
        for rule, dash in zip(THRESHOLD_RULES, DASHES, strict=True):
            at = scored.found.threshold(rule)
            label = f"{at:.3f}: {RULES[rule]}"
            axes.axvline(at, color=INK, alpha=0.7, linewidth=1, linestyle=dash, label=label)
        axes.set(
            xlim=(0, 1), ylim=(-0.01, 1.01), xlabel="threshold on the share of malignant votes", ylabel="share right"
        )
        figure.legend(loc="outside right upper")
        return plot(
            figure,
            "thresholds",
            caption=f"Sensitivity, specificity and balanced accuracy against the threshold: {scored.name}. Vertical "
            "lines: what each rule chooses on all out-of-fold predictions.",
            alt="Sensitivity falls and specificity rises with the threshold; balanced accuracy is highest between.",
        )
