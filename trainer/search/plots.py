"""The figures of a search's report."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from trainer.report.document import Plot
from trainer.report.drawing import COLOURS, INK, canvas, plot
from trainer.report.formatting import plain
from trainer.search.results import SearchResults, Trial
from trainer.search.space import in_words

_ACROSS = 3
_PANELS = 9
"""More searches than that share one panel."""


def history(results: SearchResults) -> Plot:
    """Objective against trial, with the best so far: a panel a search, or one for all where there are many."""
    searches = results.searches
    apart = len(searches) <= _PANELS
    with _panels(len(searches), 2.8, 2.1, sharex=True) if apart else _panels(1, 5.6, 2.9) as (figure, panels):
        for axes, search in zip(panels if apart else panels * len(searches), searches, strict=True):
            strong = apart or search is results.final
            numbers = [trial.number for trial in search.trials]
            if strong:
                axes.plot(numbers, [trial.objective for trial in search.trials], ".", color=COLOURS[1])
                axes.set_title(search.name)
            axes.step(numbers, search.best_so_far, where="post", color=COLOURS[0], linewidth=1.6 if strong else 0.5)
        figure.supxlabel("trial", fontsize=9)
        figure.supylabel(plain(results.objective), fontsize=9)
        return plot(
            figure,
            "history",
            caption="Objective of each trial (dots) and the best so far (line)"
            + ("." if apart else "; thin lines: the outer splits, thick: the search on all images."),
            alt="The objective by trial for each search; trials.csv holds the same numbers.",
        )


def slices(results: SearchResults) -> Plot:
    """How far each trial is from its search's best, against each option's value, a panel an option.

    Not the objective itself: each split has patients of its own, and levels of its own.
    """
    with _panels(len(results.space), 2.8, 2.3, sharey=True) as (figure, panels):
        for axes, name in zip(panels, results.space, strict=True):
            _slice(axes, results, name)
        side = "above" if results.objective == "log_loss" else "below"
        figure.supylabel(f"{plain(results.objective)} {side} the best", fontsize=9)
        return plot(
            figure,
            "slices",
            caption=f"How far each trial is {side} the best one of its search, against each option's value. Filled: "
            "the search on all images, the ring its best trial; pale: the outer splits. Where the dots lie low "
            "everywhere, the option does not matter.",
            alt="Distance to the best objective by the value of each option; trials.csv holds the same numbers.",
        )


@contextmanager
def _panels(count: int, width: float, height: float, **shared: Any) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure of so many panels, a few in a row, each of so many inches."""
    columns = min(_ACROSS, count)
    rows = -(-count // columns)
    with canvas(width * columns + 0.4, height * rows + 0.5) as figure:
        grid = figure.subplots(rows, columns, squeeze=False, **shared).ravel().tolist()
        for axes in grid[count:]:
            axes.set_visible(False)
        yield figure, grid[:count]


def _slice(axes: Axes, results: SearchResults, name: str) -> None:
    within = results.space[name]["attributes"]
    choices = within.get("choices")

    def place(trial: Trial) -> float:
        value = trial.values[name]
        return float(choices.index(value) if choices else value)

    for search in results.searches:
        final = search is results.final
        axes.plot(
            [place(trial) for trial in search.usable],
            [abs(trial.objective - search.best.objective) for trial in search.usable], ".",
            color=COLOURS[0], alpha=1 if final else 0.3, markeredgewidth=0,
        )  # fmt: skip
    best = results.final.best
    axes.plot(place(best), 0, "o", markerfacecolor="none", markeredgecolor=INK, markersize=8)
    if choices:
        axes.set_xticks(range(len(choices)), [in_words(choice) for choice in choices])
        axes.set_xlim(-0.5, len(choices) - 0.5)
    elif within["log"]:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(numticks=5))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(plain(name))


def importances(results: SearchResults) -> Plot:
    """How much each option matters, where that is known of the search on all images."""
    final = results.final.importances
    names = sorted(final, key=lambda name: final[name])
    with canvas(6, 0.7 + 0.34 * len(names)) as figure:
        axes = figure.subplots()
        axes.barh(range(len(names)), [final[name] for name in names], color=COLOURS[0], height=0.6)
        for search in results.splits:
            known = [at for at, name in enumerate(names) if name in search.importances]
            axes.plot([search.importances[names[at]] for at in known], known, ".", color=COLOURS[1], markersize=5)
        axes.set_yticks(range(len(names)), [plain(name) for name in names])
        axes.set_xlim(0, 1)
        axes.set_xlabel("share of the objective's variance")
        return plot(
            figure,
            "importances",
            caption="How much of the objective's variance each option explains by itself or with others (fANOVA). "
            "Bars: the search on all images; dots: the outer splits.",
            alt=f"Importance of each option: {', '.join(f'{plain(name)} {final[name]:.2f}' for name in names[::-1])}",
        )
