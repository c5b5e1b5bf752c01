"""How the comparison of two studies is shown: as a text for a terminal, and as a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trainer.report.document import Document, Facts, Group, Plot, Section, Table
from trainer.report.drawing import COLOURS, INK, canvas, plot
from trainer.report.formatting import LOWER_IS_BETTER, MEASURES, counted, number, percent, signed

if TYPE_CHECKING:
    from trainer.experiments.compare import Comparison, Difference


def text(found: Comparison) -> str:
    """For a terminal."""
    rows = [["measure", "A", "B", "B - A", "95 % interval", "B better"], *_rows(found)]
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
            f"A: {found.name_a}", f"B: {found.name_b}", f"{_on(found)}.",
            *(f"Warning: {warning}" for warning in found.warnings),
            "", *lines, "", _verdicts(found), found.intended_use,
        ]
    )  # fmt: skip


def document(found: Comparison) -> Document:
    """As a page."""
    table = Table(
        "Measures of both, and their difference",
        ["measure", "A", "B", "B - A", "95 % interval", "draws in which B is better"],
        [Group("", _rows(found))],
        "ECE and Brier score: lower is better. Where the interval holds 0, no difference can be told from chance.",
    )
    verdicts = Table(
        "Verdicts on the same images",
        ["", "B right", "B wrong"],
        [
            Group(
                "",
                [
                    ["A right", f"{found.both_right:,}", f"{found.only_a_right:,}"],
                    ["A wrong", f"{found.only_b_right:,}", f"{found.both_wrong:,}"],
                ],
            )
        ],
        _verdicts(found),
    )
    facts = Facts([("A", found.name_a), ("B", found.name_b), ("Compared", _on(found))])
    return Document(
        title="Two studies side by side",
        warnings=found.warnings,
        lead=f"{_lead(found)} {found.intended_use}",
        sections=[
            Section("What was compared", [facts]),
            Section("Differences", [table, _draw(found.differences)]),
            Section("Verdicts", [verdicts]),
        ],
    )


def _rows(found: Comparison) -> list[list[str]]:
    return [
        [
            MEASURES[one.measure],
            number(one.a),
            number(one.b),
            signed(one.difference.value),
            f"{signed(one.difference.low)} to {signed(one.difference.high)}",
            percent(one.b_better),
        ]
        for one in found.differences
    ]


def _on(found: Comparison) -> str:
    how = "prediction by prediction" if found.paired else "each image by its mean over the repeats"
    return f"{counted(found.images, 'image')} of {counted(found.patients, 'patient')} that both tested, {how}"


def _verdicts(found: Comparison) -> str:
    return (
        f"{found.verdicts_differ:,} of {counted(found.verdicts, 'verdict')} differ. A alone is right in "
        f"{found.only_a_right:,}, B alone in {found.only_b_right:,}."
    )


def _lead(found: Comparison) -> str:
    first = found.differences[0]
    difference = first.difference
    if difference.low <= 0 <= difference.high:
        verdict = "no difference can be told from chance"
    else:
        verdict = f"{'B' if difference.value > 0 else 'A'} is better"
    return (
        f"By {MEASURES[first.measure]} {verdict}: {number(first.a)} for A, {number(first.b)} for B, a difference of "
        f"{signed(difference.value)} (95 % interval {signed(difference.low)} to {signed(difference.high)})."
    )


def _draw(differences: Sequence[Difference]) -> Plot:
    """The differences with their intervals, B's gain to the right."""
    with canvas(7.5, 0.8 + 0.36 * len(differences)) as figure:
        axes = figure.subplots()
        for at, one in enumerate(differences):
            sign = -1 if one.measure in LOWER_IS_BETTER else 1
            low, high = sorted((sign * one.difference.low, sign * one.difference.high))
            axes.plot([low, high], [at, at], color=COLOURS[0], linewidth=2)
            axes.plot(sign * one.difference.value, at, "o", color=COLOURS[0], markersize=6)
        axes.axvline(0, color=INK, linewidth=1)
        names = [
            f"{MEASURES[one.measure]} (turned)" if one.measure in LOWER_IS_BETTER else MEASURES[one.measure]
            for one in differences
        ]
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlabel("left of the line A is better, right of it B")
        return plot(
            figure,
            "differences",
            caption="What B gains over A, with 95 % intervals; right of the line B is better. ECE and Brier score are "
            "turned round, as less of them is better.",
            alt="Differences of all measures with their intervals; the table holds the same numbers.",
        )
