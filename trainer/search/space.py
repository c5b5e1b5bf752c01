"""The search space: the options of a fit that can be searched, and the values that each may take."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)
from pydantic import ValidationError

from trainer.errors import OptionsError
from trainer.options import FitOptions, Mode

Space: TypeAlias = Mapping[str, BaseDistribution]
"""The distribution of values of each searched option, by the field's name in `FitOptions`."""

_TRAINED: Space = {
    "learning_rate": FloatDistribution(1e-5, 3e-2, log=True),
    "weight_decay": FloatDistribution(1e-5, 1e-1, log=True),
    "epochs": IntDistribution(5, 40),
    "schedule": CategoricalDistribution(["cosine", "constant"]),
    "ema": CategoricalDistribution([0.0, 0.9, 0.99, 0.999]),
    "stain": FloatDistribution(0.0, 0.5),
    "turn": CategoricalDistribution([False, True]),
    "batch_size": CategoricalDistribution([16, 32, 64, 128]),
    "balance": CategoricalDistribution(["class", "patient"]),
}
_SPACES: Mapping[Mode, Space] = {
    "frozen": {
        "c": FloatDistribution(1e-7, 1e-1, log=True),
        "balance": CategoricalDistribution(["class", "patient"]),
        "also_weight": FloatDistribution(0.0, 0.5),
    },
    "finetune": {**_TRAINED, "backbone_rate": FloatDistribution(1e-2, 1.0, log=True)},
    "scratch": _TRAINED,
}
_ON_REQUEST: Space = {"test_time_flips": CategoricalDistribution([False, True])}
"""Options that are searched only if they are named, because scoring takes four times as long."""


def space_for(base: FitOptions, only: Sequence[str] = ()) -> dict[str, BaseDistribution]:
    """Return the search space of a mode.

    Args:
        base: The base options; their mode, and whether they add other magnifications, determine the space.
        only: Names of the options to search; empty means all those that the mode searches by default.

    Raises:
        OptionsError: If an option cannot be searched.
    """
    problems = list(_unknown(base, only))
    if problems:
        raise OptionsError(problems)
    searched = only or [name for name in _known(base) if name not in _ON_REQUEST]
    return {name: values for name, values in _known(base).items() if name in searched}


def problems(base: FitOptions, space: Space) -> Iterator[str]:
    """Yield one sentence for each reason why a space cannot be searched."""
    if not space:
        yield "There is nothing to search for."
    yield from _unknown(base, space)
    for name in _known(base).keys() & space.keys():
        for value in _ends(space[name]):
            try:
                base.replace(**{name: value})
            except ValidationError as error:
                yield f"The search space of {name} contains {value}: {error.errors()[0]['msg']}."


def start(base: FitOptions, space: Space) -> dict[str, Any]:
    """Return the base options' values of the searched options, those outside of the space left out."""
    return {name: getattr(base, name) for name, values in space.items() if _contains(values, getattr(base, name))}


def as_data(space: Space) -> dict[str, dict[str, Any]]:
    """Return the space as plain data, in Optuna's notation."""
    return {name: json.loads(distribution_to_json(values)) for name, values in space.items()}


def in_words(value: object) -> str:
    """Format the value of an option for a reader."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _known(base: FitOptions) -> dict[str, BaseDistribution]:
    """Return all options that can be searched with the base options, and their values."""
    known = {**_SPACES[base.mode], **_ON_REQUEST}
    if not base.also:
        known.pop("also_weight", None)
    return known


def _unknown(base: FitOptions, names: Iterable[str]) -> Iterator[str]:
    known = _known(base)
    for name in names:
        if name not in known:
            why = " without --also" if name == "also_weight" and not base.also else ""
            yield f"{name} cannot be searched in mode {base.mode}{why}. These can: {', '.join(known)}."


def _ends(values: BaseDistribution) -> tuple[Any, ...]:
    """Return values of a distribution that are within an option's bounds only if all others are."""
    if isinstance(values, CategoricalDistribution):
        return tuple(values.choices)
    if isinstance(values, FloatDistribution | IntDistribution):
        return values.low, values.high
    raise TypeError(f"{values} is not a distribution that can be searched.")


def _contains(values: BaseDistribution, value: Any) -> bool:
    ends = _ends(values)
    return value in ends if isinstance(values, CategoricalDistribution) else ends[0] <= value <= ends[1]
