"""The plots of a search's report."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from trainer.report.document import Plot
from trainer.report.drawing import COLOURS, canvas, plot
from trainer.report.formatting import plain
from trainer.report.svg import INK
from trainer.search.results import SearchResults, Trial
from trainer.search.space import in_words

_ACROSS = 3
_PANELS = 9
"""The maximum number of searches with a panel each; more searches share one panel."""


def objectives(results: SearchResults) -> Plot:
    """Draw the objective by trial and the best so far: a panel per search, or one panel for many searches."""
    searches = results.searches
    separate = len(searches) <= _PANELS
    with _panels(len(searches), 2.8, 2.1, sharex=True) if separate else _panels(1, 5.6, 2.9) as (figure, panels):
        for axes, search in zip(panels if separate else panels * len(searches), searches, strict=True):
            strong = separate or search is results.final
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
            + ("." if separate else "; thin lines: the outer splits, thick: the search on all images."),
            alt="The objective by trial for each search; trials.csv contains the same numbers.",
        )


def slices(results: SearchResults) -> Plot:
    """Draw the distance of each trial to the best of its search by the option's value, a panel per option.

    The distance is drawn instead of the objective because each split has other patients and so another level.
    """
    with _panels(len(results.space), 2.8, 2.3, sharey=True) as (figure, panels):
        for axes, name in zip(panels, results.space, strict=True):
            _slice(axes, results, name)
        side = "above" if results.objective == "log_loss" else "below"
        figure.supylabel(f"{plain(results.objective)} {side} the best", fontsize=9)
        return plot(
            figure,
            "slices",
            caption=f"Distance of each trial {side} the best one of its search, by the value of each option. Filled "
            "dots: the search on all images, with a ring around its best trial; pale dots: the outer splits. If the "
            "dots are low everywhere, the option does not matter.",
            alt="Distance to the best objective by the value of each option; trials.csv contains the same numbers.",
        )


@contextmanager
def _panels(count: int, width: float, height: float, **shared: Any) -> Iterator[tuple[Figure, list[Axes]]]:
    """Yield a figure with a number of panels, each of the given size in inches, and the panels' axes."""
    columns = min(_ACROSS, count)
    rows = -(-count // columns)
    with canvas(width * columns + 0.4, height * rows + 0.5) as figure:
        grid = figure.subplots(rows, columns, squeeze=False, **shared).ravel().tolist()
        for axes in grid[count:]:
            axes.set_visible(False)
        yield figure, grid[:count]


def _slice(axes: Axes, results: SearchResults, name: str) -> None:
    attributes = results.space[name]["attributes"]
    choices = attributes.get("choices")

    def position(trial: Trial) -> float:
        value = trial.values[name]
        return float(choices.index(value) if choices else value)

    for search in results.searches:
        final = search is results.final
        axes.plot(
            [position(trial) for trial in search.usable],
            [abs(trial.objective - search.best.objective) for trial in search.usable], ".",
            color=COLOURS[0], alpha=1 if final else 0.3, markeredgewidth=0,
        )  # fmt: skip
    best = results.final.best
    axes.plot(position(best), 0, "o", markerfacecolor="none", markeredgecolor=INK, markersize=8)
    if choices:
        axes.set_xticks(range(len(choices)), [in_words(choice) for choice in choices])
        axes.set_xlim(-0.5, len(choices) - 0.5)
    elif attributes["log"]:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(numticks=5))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(plain(name))


def importances(results: SearchResults) -> Plot:
    """Draw the importance of each option in the search on all images, with those in the outer splits as dots."""
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
            caption="The share of the objective's variance that each option explains alone or with others (fANOVA). "
            "Bars: the search on all images; dots: the outer splits.",
            alt=f"Importance of each option: {', '.join(f'{plain(name)} {final[name]:.2f}' for name in names[::-1])}",
        )
