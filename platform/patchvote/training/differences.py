"""The table and the chart of a comparison's metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from patchvote.core import charts
from patchvote.training.models import Comparison

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MEASURES = {
    "sensitivity": gettext_noop("sensitivity"),
    "specificity": gettext_noop("specificity"),
    "balanced_accuracy": gettext_noop("balanced accuracy"),
    "accuracy": gettext_noop("accuracy"),
    "auc": gettext_noop("AUC of the mean logit"),
    "patient_score": gettext_noop("patient score"),
    "brier": gettext_noop("Brier score (lower is better)"),
    "ece": gettext_noop("calibration error (lower is better)"),
}
"""The names of the metrics that are shown, in this order."""

_LESS_IS_BETTER = frozenset({"brier", "ece"})
_DRAWN = ("balanced_accuracy", "specificity", "sensitivity")


@dataclass(frozen=True)
class MetricRow:
    """A metric of both models.

    Attributes:
        name: The translated name.
        champion: The champion's value.
        candidate: The candidate's value.
        difference: Candidate minus champion.
        low: The lower end of the 95 % interval of the difference.
        high: The upper end of the interval.
        better_percent: The percentage of bootstrap samples in which the candidate is better.
        less_is_better: Whether smaller values are better.
    """

    name: str
    champion: float
    candidate: float
    difference: float
    low: float
    high: float
    better_percent: float
    less_is_better: bool


def rows(comparison: Comparison) -> list[MetricRow]:
    """Return the metrics that could be computed on the images."""
    found: dict[str, Any] = {row["measure"]: row for row in comparison.result.get("measures", [])}
    return [
        MetricRow(
            _(label),
            found[name]["champion"],
            found[name]["candidate"],
            found[name]["difference"]["value"],
            found[name]["difference"]["low"],
            found[name]["difference"]["high"],
            100 * found[name]["candidate_better"],
            name in _LESS_IS_BETTER,
        )
        for name, label in MEASURES.items()
        if name in found and found[name]["difference"] is not None
    ]


def chart(comparison: Comparison) -> SafeString | None:
    """Draw candidate minus champion with 95 % intervals; return None if nothing was compared."""
    found = {row["measure"]: row["difference"] for row in comparison.result.get("measures", [])}
    drawn = [name for name in _DRAWN if found.get(name)]
    if not drawn:
        return None

    def draw(figure: Figure) -> None:
        from trainer.report.drawing import COLOURS
        from trainer.report.svg import INK

        axes = figure.subplots()
        for place, name in enumerate(drawn):
            one = found[name]
            axes.plot([100 * one["low"], 100 * one["high"]], [place, place], color=COLOURS[0], linewidth=2.5)
            axes.plot([100 * one["value"]], [place], "o", color=COLOURS[0], markersize=7)
        axes.axvline(0, color=INK, linewidth=0.9)
        axes.set_yticks(range(len(drawn)), [_(MEASURES[name]) for name in drawn])
        axes.set(ylim=(-0.6, len(drawn) - 0.4), xlabel=_("candidate minus champion, percentage points"))

    return charts.inline(
        draw,
        name="differences",
        alt=_("Differences of candidate and champion with their 95 % intervals; the table has the numbers."),
        width=7,
        height=1.9,
    )
