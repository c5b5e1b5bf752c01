"""The report of a comparison of two studies: text for a terminal, and a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trainer.evaluation.comparison import MetricDifference, StudyComparison
from trainer.evaluation.metrics import LOWER_IS_BETTER, MEASURES
from trainer.report.document import Document, Facts, Group, Plot, Section, Table
from trainer.report.drawing import COLOURS, canvas, plot
from trainer.report.formatting import counted, number, percent, signed
from trainer.report.svg import INK

NAME = "comparison"
"""The name of the comparison's files, without suffixes."""


def write(out: Path, comparison: StudyComparison) -> None:
    """Write `comparison.html`, `comparison.md` and the plot's file into a folder, each atomically."""
    document(comparison).write(out, NAME)


def text(comparison: StudyComparison) -> str:
    """Format a comparison for a terminal."""
    rows = [["measure", "A", "B", "B - A", "95 % interval", "B better"], *_rows(comparison)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            entry.rjust(width) if at else entry.ljust(width)
            for at, (entry, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return "\n".join(
        [
            f"A: {comparison.name_a}", f"B: {comparison.name_b}", f"{_basis(comparison)}.",
            *(f"Warning: {warning}" for warning in comparison.warnings),
            "", *lines, "", _verdicts(comparison), comparison.intended_use,
        ]
    )  # fmt: skip


def document(comparison: StudyComparison) -> Document:
    """Return the page of a comparison."""
    table = Table(
        "Metrics of both candidates, and their differences",
        ["measure", "A", "B", "B - A", "95 % interval", "bootstrap samples in which B is better"],
        [Group("", _rows(comparison))],
        "ECE and Brier score: lower is better. If an interval contains 0, the difference may be due to chance.",
    )
    counts = comparison.verdicts
    verdicts = Table(
        "Verdicts on the same images",
        ["", "B right", "B wrong"],
        [
            Group(
                "",
                [
                    ["A right", f"{counts.both_right:,}", f"{counts.only_a_right:,}"],
                    ["A wrong", f"{counts.only_b_right:,}", f"{counts.both_wrong:,}"],
                ],
            )
        ],
        _verdicts(comparison),
    )
    facts = Facts([("A", comparison.name_a), ("B", comparison.name_b), ("Compared", _basis(comparison))])
    return Document(
        title="Comparison of two studies",
        warnings=comparison.warnings,
        lead=f"{_lead(comparison)} {comparison.intended_use}",
        sections=[
            Section("What was compared", [facts]),
            Section("Differences", [table, _draw(comparison.differences)]),
            Section("Verdicts", [verdicts]),
        ],
    )


def _rows(comparison: StudyComparison) -> list[list[str]]:
    return [
        [
            MEASURES[one.measure],
            number(one.a),
            number(one.b),
            signed(one.difference.value),
            f"{signed(one.difference.low)} to {signed(one.difference.high)}",
            percent(one.b_better),
        ]
        for one in comparison.differences
    ]


def _basis(comparison: StudyComparison) -> str:
    how = "prediction by prediction" if comparison.paired else "each image by its mean over the repeats"
    return f"{counted(comparison.images, 'image')} of {counted(comparison.patients, 'patient')} that both tested, {how}"


def _verdicts(comparison: StudyComparison) -> str:
    counts = comparison.verdicts
    return (
        f"{counts.verdicts_differ:,} of {counted(counts.total, 'verdict')} differ. Only A is right in "
        f"{counts.only_a_right:,}, only B in {counts.only_b_right:,}."
    )


def _lead(comparison: StudyComparison) -> str:
    first = comparison.differences[0]
    difference = first.difference
    if difference.low <= 0 <= difference.high:
        verdict = "the difference may be due to chance"
    else:
        verdict = f"{'B' if difference.value > 0 else 'A'} is better"
    return (
        f"By {MEASURES[first.measure]} {verdict}: {number(first.a)} for A, {number(first.b)} for B, a difference of "
        f"{signed(difference.value)} (95 % interval {signed(difference.low)} to {signed(difference.high)})."
    )


def _draw(differences: Sequence[MetricDifference]) -> Plot:
    """Draw the gain of B over A in each metric, with its interval."""
    with canvas(7.5, 0.8 + 0.36 * len(differences)) as figure:
        axes = figure.subplots()
        for at, one in enumerate(differences):
            sign = -1 if one.measure in LOWER_IS_BETTER else 1
            low, high = sorted((sign * one.difference.low, sign * one.difference.high))
            axes.plot([low, high], [at, at], color=COLOURS[0], linewidth=2)
            axes.plot(sign * one.difference.value, at, "o", color=COLOURS[0], markersize=6)
        axes.axvline(0, color=INK, linewidth=1)
        names = [
            f"{MEASURES[one.measure]} (sign reversed)" if one.measure in LOWER_IS_BETTER else MEASURES[one.measure]
            for one in differences
        ]
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlabel("A is better on the left of the line, B on the right")
        return plot(
            figure,
            "differences",
            caption="The gain of B over A, with 95 % intervals; B is better on the right of the line. The signs of ECE "
            "and Brier score are reversed, because lower is better.",
            alt="Differences of all metrics with their intervals; the table contains the same numbers.",
        )
