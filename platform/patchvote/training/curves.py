"""Charts of the learning curves of a run."""

from __future__ import annotations

from collections import defaultdict
from functools import lru_cache
from typing import TYPE_CHECKING
from uuid import UUID

from django.utils.safestring import SafeString
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from patchvote.core import charts
from patchvote.training.models import RunEpoch, RunFold, TrainingRun

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FOLDS_NAMED = 8
"""Maximum number of folds in the legend; more lines cannot be told apart."""


def chart(run: TrainingRun) -> SafeString | None:
    """Draw the loss and accuracy of patches: by epoch, or by fold for a head on frozen features.

    The chart is cached until there are new numbers, because every viewer polls every few seconds.

    Returns:
        An `<svg>`, or None while there are no numbers.
    """
    known = (run.epochs.count(), run.folds.count())
    return _drawn(run.pk, run.fold_count, known, get_language()) if any(known) else None


@lru_cache(maxsize=32)
def _drawn(run: UUID, fold_count: int | None, known: tuple[int, int], language: str | None) -> SafeString | None:
    del known, language  # part of the cache key only
    epochs: dict[int, list[RunEpoch]] = defaultdict(list)
    for epoch in RunEpoch.objects.filter(run=run):
        epochs[epoch.fold].append(epoch)
    if epochs:
        return charts.inline(
            lambda figure: _by_epoch(figure, epochs, fold_count),
            name="curves",
            alt=_("Loss and accuracy of training and validation patches by epoch, a line for each fold."),
            height=3.4,
        )
    folds = list(RunFold.objects.filter(run=run))
    if folds:
        return charts.inline(
            lambda figure: _by_fold(figure, folds),
            name="curves",
            alt=_("Accuracy of training and test patches, fold by fold."),
            height=2.8,
        )
    return None


def _by_epoch(figure: Figure, epochs: dict[int, list[RunEpoch]], fold_count: int | None) -> None:
    from trainer.report.drawing import COLOURS

    loss, accuracy = figure.subplots(1, 2)
    for fold, rows in sorted(epochs.items()):
        colour = COLOURS[fold % len(COLOURS)]
        numbers = [row.number for row in rows]
        final = fold_count is not None and fold >= fold_count
        name = _("all images") if final else _("fold %(number)d") % {"number": fold + 1}
        loss.plot(numbers, [row.training_loss for row in rows], color=colour, label=name, **_STYLE)
        accuracy.plot(numbers, [row.training_accuracy for row in rows], color=colour, **_STYLE)
        if rows[0].validation_loss is not None:
            dashed = {**_STYLE, "linestyle": "--"}
            loss.plot(numbers, [row.validation_loss for row in rows], color=colour, **dashed)
            accuracy.plot(numbers, [row.validation_accuracy for row in rows], color=colour, **dashed)
    loss.set(xlabel=_("epoch"), title=_("Loss"), ylim=(0, None))
    accuracy.set(xlabel=_("epoch"), title=_("Accuracy of patches"), ylim=(None, 1.01))
    for axes in (loss, accuracy):
        _whole_numbers(axes)
    if len(epochs) <= _FOLDS_NAMED:
        figure.legend(loc="outside right upper")


def _by_fold(figure: Figure, folds: list[RunFold]) -> None:
    from trainer.report.drawing import COLOURS

    axes = figure.subplots()
    numbers = [fold.number + 1 for fold in folds]
    axes.plot(
        numbers, [fold.training_accuracy for fold in folds], "o-", color=COLOURS[0], markersize=4, label=_("training")
    )
    axes.plot(numbers, [fold.test_accuracy for fold in folds], "s--", color=COLOURS[1], markersize=4, label=_("test"))
    axes.set(xlabel=_("fold"), ylabel=_("accuracy of patches"), ylim=(None, 1.01))
    _whole_numbers(axes)
    figure.legend(loc="outside right upper")


def _whole_numbers(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


_STYLE = {"linestyle": "-", "marker": "o", "markersize": 2.5, "linewidth": 1.3}
