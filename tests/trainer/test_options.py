"""What options may be."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from trainer.options import MAX_EPOCHS, MAX_FOLDS, MAX_REPEATS, FitOptions

_SMALL = 2**15
"""Numbers of folds and epochs are stored as such."""


@pytest.mark.parametrize("field", ["learning_rate", "c", "weight_decay", "also_weight", "ema"])
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_what_is_no_number_is_refused(field: str, value: float) -> None:
    with pytest.raises(ValidationError, match="finite number"):
        FitOptions().replace(**{field: value})


@pytest.mark.parametrize(
    "wrong",
    [
        {"folds": MAX_FOLDS + 1}, {"repeats": MAX_REPEATS + 1}, {"epochs": MAX_EPOCHS + 1},
        {"patience": MAX_EPOCHS + 1}, {"seeds": 33}, {"seed": 2**31}, {"draws": 10**5}, {"batch_size": 10**5},
    ],
)  # fmt: skip
def test_counts_are_bounded(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="less than"):
        FitOptions().replace(**wrong)


def test_folds_and_epochs_stay_small_numbers() -> None:
    largest = FitOptions(mode="scratch", folds=MAX_FOLDS, repeats=MAX_REPEATS, epochs=MAX_EPOCHS, seeds=32)
    assert largest.folds * largest.repeats < _SMALL
    assert largest.max_epochs < _SMALL
