"""The thesis's figures for this study: numbers of epochs (17), learning curves (18), confusion matrices (19)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from trainer.evaluation.candidates import ScoredCandidate
from trainer.evaluation.results import Candidate, StudyResults
from trainer.report.document import Plot
from trainer.report.drawing import COLOURS, canvas, plot, shortened
from trainer.report.formatting import plain
from trainer.report.tables import beside_comparison
from trainer.schemas import Epoch, FoldResult, PatchMetrics

Floats = NDArray[np.float64]
_Part = Callable[[Epoch], PatchMetrics | None]

_PARTS: dict[str, tuple[_Part, str]] = {
    "training": (lambda epoch: epoch.training, COLOURS[0]),
    "validation": (lambda epoch: epoch.validation, COLOURS[1]),
}
# Pale enough for dark text and for light text.
_SHADES = LinearSegmentedColormap.from_list("shades", ["#2f7ed800", "#2f7ed899"])
_LONG = 4
"""The maximum length of tick labels that fit side by side, in letters."""


def learning_curves(candidate: Candidate, name: str) -> Plot | None:
    """Draw Figure 18 for one candidate: accuracy and loss by epoch; None if the candidate has no epochs."""
    if not any(fold.epochs for fold in candidate.folds):
        return None
    with canvas(8.4, 3.1) as figure:
        axes = figure.subplots(1, 2)
        for one, measure in zip(axes, ("accuracy", "loss"), strict=True):
            _draw_epochs(one, candidate.folds, measure)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=3)
        return plot(
            figure,
            name,
            caption=f"Figure 18. {candidate.name}: accuracy and loss of patches by epoch. Thin lines: the folds; thick "
            "lines: the mean of the folds that were still training, as long as at least half of them were; dots: the "
            "epochs whose weights were kept.",
            alt=f"Learning curves of {candidate.name}: training and validation accuracy and loss by epoch.",
        )


def epochs_compared(results: StudyResults) -> list[Plot]:
    """Draw Figure 17 for each candidate with a variant: accuracy by epoch, with fewer and with more epochs."""
    plots = []
    for number, (_, members) in enumerate(beside_comparison(results, "epochs", "epochs"), 1):
        drawn = sorted(
            (member for member in members if any(fold.epochs for fold in member.folds)),
            key=lambda member: member.options.epochs,
        )
        if not drawn:
            continue
        with canvas(4.2 * len(drawn), 3.1) as figure:
            row = figure.subplots(1, len(drawn), sharey=True, squeeze=False)[0]
            for axes, member in zip(row, drawn, strict=True):
                _draw_epochs(axes, member.folds, "accuracy")
                axes.set_title(f"{shortened(member.name)}:\nmaximum epochs: {member.options.epochs}")
            handles, labels = row[0].get_legend_handles_labels()
            figure.legend(handles, labels, loc="outside upper center", ncols=3)
            names = ", ".join(f"{member.name} ({member.options.epochs} epochs)" for member in drawn)
            plots.append(
                plot(
                    figure,
                    f"epochs-{number}",
                    caption=f"Figure 17. Accuracy of patches with fewer (left) and more (right) epochs: {names}.",
                    alt=f"Accuracy by epoch, side by side: {names}.",
                )
            )
    return plots


def _draw_epochs(axes: Axes, folds: Sequence[FoldResult], measure: str) -> None:
    for part, (pick, colour) in _PARTS.items():
        curves = [_curve(fold.epochs, pick, measure) for fold in folds]
        for fold, curve in zip(folds, curves, strict=True):
            axes.plot(np.arange(1, curve.size + 1), curve, color=colour, linewidth=0.7, alpha=0.4)
            if part == "validation" and fold.best_epoch is not None and fold.best_epoch <= curve.size:
                axes.plot(fold.best_epoch, curve[fold.best_epoch - 1], "o", color=colour, markersize=3.5)
        mean = _mean(curves)
        if np.isfinite(mean).any():
            marker = "o" if mean.size == 1 else ""  # a line through a single epoch is invisible
            axes.plot(np.arange(1, mean.size + 1), mean, marker=marker, color=colour, linewidth=2.2, label=part)
    axes.set(xlabel="epoch", ylabel=f"patch {measure}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _curve(epochs: Sequence[Epoch], pick: _Part, measure: str) -> Floats:
    """Return a metric of one fold by epoch, of shape (epochs,); NaN where it is unknown."""
    parts = [pick(epoch) for epoch in epochs]
    values = np.array([np.nan if part is None else getattr(part, measure) for part in parts], dtype=float)
    return np.where(np.isfinite(values), values, np.nan)


def _mean(curves: Sequence[Floats]) -> Floats:
    """Return the mean over the folds by epoch, of shape (epochs,); NaN where less than half of them have a value."""
    table = np.full((len(curves), max(map(len, curves), default=0)), np.nan)
    for row, curve in zip(table, curves, strict=True):
        row[: curve.size] = curve
    known = np.isfinite(table).sum(axis=0)
    total = np.nansum(table, axis=0)
    return np.where(known * 2 >= len(curves), total / np.maximum(known, 1), np.nan)


def confusions(results: StudyResults, scored: Sequence[ScoredCandidate]) -> Plot:
    """Draw Figure 19: for each candidate the votes in the last fold, and the verdicts of all folds."""
    names = [short(name) for name in results.classes]
    side = 2.5 if results.kind.binary else 4.2
    with canvas(2 * side + 1.4, len(scored) * (side + 0.35)) as figure:
        rows = figure.subplots(len(scored), 2, squeeze=False)
        for (left, right), one in zip(rows, scored, strict=True):
            last = one.candidate.folds[-1]
            draw_matrix(left, np.array(last.patch_confusion), names)
            left.set_title(f"{shortened(one.name)}:\npatches of {last.name}")
            draw_matrix(right, one.confusion, names)
            right.set_title(f"{shortened(one.name)}:\nverdicts on images, all folds")
        return plot(
            figure,
            "confusion",
            caption="Figure 19. Confusion matrices: votes of the patches in one fold, the last (left), and verdicts on "
            "the images of all folds, pooled (right).",
            alt="Confusion matrices of each candidate; the verdicts are those behind the table of all candidates.",
        )


def draw_matrix(axes: Axes, counts: NDArray[np.int64], names: Sequence[str]) -> None:
    """Draw a confusion matrix: counts by truth (rows) and prediction (columns), shaded by their share of the row."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    edges = np.arange(len(names) + 1) - 0.5
    axes.pcolormesh(edges, edges, shares, cmap=_SHADES, vmin=0, vmax=1)
    for (row, column), number in np.ndenumerate(counts):
        axes.text(column, row, f"{number:,}", ha="center", va="center")
    rotated = any(len(name) > _LONG for name in names) and len(names) > 2  # noqa: PLR2004 (two names always fit)
    axes.set_xticks(range(len(names)), names, rotation=45 if rotated else 0, ha="right" if rotated else "center")
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="predicted", ylabel="truth", aspect="equal")
    axes.invert_yaxis()
    axes.grid(visible=False)
    axes.tick_params(length=0)


def short(name: str) -> str:
    """Shorten the name of a class by the word that it shares with others."""
    return plain(name).removesuffix(" carcinoma").removesuffix(" tumor")
