"""How numbers and names are written in a report."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from trainer.choices import ThresholdRule
from trainer.evaluation.metrics import Estimate
from trainer.report.document import Cell

RULES: dict[ThresholdRule, str] = {
    "balanced_accuracy": "best balanced accuracy (smoothed)",
    "youden": "Youden's best index",
    "sensitivity": "sensitivity of 95 %",
    "thesis": "the thesis's fixed 0.90",
}

NONE = "–"  # noqa: RUF001 (what stands in an empty cell)


def number(value: float | None, digits: int = 3) -> str:
    """A number with so many digits after the point; a dash where there is none."""
    if value is None or math.isnan(value):
        return NONE
    return f"{value:.{digits}f}"


def estimate(found: Estimate | None, *, strong: bool = False) -> Cell:
    """A measure with its interval."""
    if found is None:
        return Cell(NONE)
    return Cell(number(found.value), f"({interval(found)})", strong=strong)


def signed(value: float) -> str:
    """A difference with three digits after the point; none is neither more nor less."""
    return f"{value:+.3f}" if round(value, 3) else "0.000"


def percent(share: float) -> str:
    """A share of one in per cent."""
    return f"{100 * share:.0f} %"


def interval(found: Estimate) -> str:
    """Of 95 %."""
    return f"{number(found.low)} to {number(found.high)}"


def mean_and_deviation(values: Sequence[float | None], digits: int = 4) -> Cell:
    """The mean over folds and the sample standard deviation; a dash where a fold has none."""
    known = np.array([value for value in values if value is not None], dtype=float)
    if known.size < len(values) or not known.size:
        return Cell(NONE)
    if known.size == 1 or not np.isfinite(known).all():
        return Cell(number(float(known.mean()), digits))
    return Cell(number(float(known.mean()), digits), f"± {known.std(ddof=1):.{digits}f}")


def plain(name: str) -> str:
    """A class's name for people."""
    return name.replace("_", " ") or "not given"


def counted(quantity: int, unit: str) -> str:
    """Such as `1 patient`, `2 patients`."""
    return f"{quantity:,} {unit}" if quantity == 1 else f"{quantity:,} {unit}s"


def listed(names: Sequence[str]) -> str:
    """Such as `a, b and c`."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
