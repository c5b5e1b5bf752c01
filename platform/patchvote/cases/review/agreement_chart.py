"""The chart of the agreement between models and reviewers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING

from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from patchvote.cases.review.agreement import Agreement
from patchvote.core import charts

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_MAX_LABELS = 8
"""The maximum number of date labels below the chart."""


def over_time(found: Sequence[tuple[date, Agreement]], *, weekly: bool) -> SafeString:
    """Draw the agreement with its interval in each week or month, and below it the numbers of reviewed images.

    Args:
        found: The first day of each week or month with reviews, and the agreement; not empty.
        weekly: Whether the periods are weeks.
    """
    shares = [(day, agreed.share, agreed.interval) for day, agreed in found]
    judged = [(day, share, interval) for day, share, interval in shares if share is not None and interval is not None]

    def draw(figure: Figure) -> None:
        from matplotlib.ticker import MaxNLocator, PercentFormatter

        from trainer.report.drawing import COLOURS

        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        below_and_above = [
            [share - low for _day, share, (low, _high) in judged],
            [high - share for _day, share, (_low, high) in judged],
        ]
        above.errorbar(
            [day for day, _share, _interval in judged], [share for _day, share, _interval in judged],
            yerr=below_and_above, color=COLOURS[0], marker="o", capsize=3,
        )  # fmt: skip
        above.set(ylim=(-0.03, 1.03), ylabel=_("agreement"))
        above.yaxis.set_major_formatter(PercentFormatter(1))

        days, filled = [day for day, _agreed in found], [0] * len(found)
        for (label, numbers), colour in zip(
            _bars(found), (COLOURS[5], COLOURS[4], COLOURS[1], COLOURS[6]), strict=True
        ):
            below.bar(
                days, numbers, width=timedelta(days=5 if weekly else 22), bottom=filled, color=colour, label=label
            )
            filled = [under + number for under, number in zip(filled, numbers, strict=True)]
        below.set(ylabel=_("images"))
        below.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
        labelled = days[:: math.ceil(len(days) / _MAX_LABELS)]
        below.set_xticks(labelled, [f"{day:%Y-%m-%d}" if weekly else f"{day:%Y-%m}" for day in labelled])
        figure.legend(loc="outside lower center", ncols=4)

    return charts.inline(
        draw,
        name="agreement",
        alt=_("Agreement with its 95 % interval and number of reviewed images, over time; the table has the numbers."),
        width=10,
        height=4.4,
    )


def _bars(found: Sequence[tuple[date, Agreement]]) -> list[tuple[str, list[int]]]:
    agreed = [one for _day, one in found]
    return [
        (_("confirmed"), [one.confirmed for one in agreed]),
        (_("malignant → benign"), [one.malignant_to_benign for one in agreed]),
        (_("benign → malignant"), [one.benign_to_malignant for one in agreed]),
        (_("unfit"), [one.unfit for one in agreed]),
    ]
