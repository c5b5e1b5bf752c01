"""The format of numbers and names in a report."""

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

NONE = "–"  # noqa: RUF001 (the content of an empty cell)


def number(value: float | None, digits: int = 3) -> str:
    """Format a number with a fixed number of decimals; a dash for None and NaN."""
    if value is None or math.isnan(value):
        return NONE
    return f"{value:.{digits}f}"


def estimate(metric: Estimate | None, *, strong: bool = False) -> Cell:
    """Return a table cell with a metric and its interval."""
    if metric is None:
        return Cell(NONE)
    return Cell(number(metric.value), f"({interval(metric)})", strong=strong)


def signed(value: float) -> str:
    """Format a difference with three decimals and its sign; a difference of 0 has no sign."""
    return f"{value:+.3f}" if round(value, 3) else "0.000"


def percent(share: float) -> str:
    """Format a share from 0 to 1 as a percentage."""
    return f"{100 * share:.0f} %"


def interval(metric: Estimate) -> str:
    """Format the 95 % interval of a metric."""
    return f"{number(metric.low)} to {number(metric.high)}"


def mean_and_deviation(values: Sequence[float | None], digits: int = 4) -> Cell:
    """Format the mean over folds and the sample standard deviation; a dash if a fold has no value."""
    known = np.array([value for value in values if value is not None], dtype=float)
    if known.size < len(values) or not known.size:
        return Cell(NONE)
    if known.size == 1 or not np.isfinite(known).all():
        return Cell(number(float(known.mean()), digits))
    return Cell(number(float(known.mean()), digits), f"± {known.std(ddof=1):.{digits}f}")


def plain(name: str) -> str:
    """Format the name of a class or an option for a reader."""
    return name.replace("_", " ") or "not given"


def counted(quantity: int, unit: str) -> str:
    """Format a quantity with its unit, such as `1 patient` or `2 patients`."""
    return f"{quantity:,} {unit}" if quantity == 1 else f"{quantity:,} {unit}s"


def listed(names: Sequence[str]) -> str:
    """Join names as in `a, b and c`."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
