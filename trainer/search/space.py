"""What can be searched: options of a fit, and the values that each may take."""

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
"""Fields of `FitOptions`, and the values that each may take."""

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
"""Searched only where it is named: scoring takes four times as long."""


def space_for(base: FitOptions, only: Sequence[str] = ()) -> dict[str, BaseDistribution]:
    """The search space of a mode.

    Args:
        base: Its mode, and whether other magnifications are trained on.
        only: Names to search alone; all of the mode's own when empty.

    Raises:
        OptionsError: If a name cannot be searched.
    """
    problems = list(_unknown(base, only))
    if problems:
        raise OptionsError(problems)
    wanted = only or [name for name in _known(base) if name not in _ON_REQUEST]
    return {name: values for name, values in _known(base).items() if name in wanted}


def problems(base: FitOptions, space: Space) -> Iterator[str]:
    """Why a space cannot be searched, in sentences: none where it can."""
    if not space:
        yield "There is nothing to search for."
    yield from _unknown(base, space)
    for name in _known(base).keys() & space.keys():
        for value in _ends(space[name]):
            try:
                base.replace(**{name: value})
            except ValidationError as error:
                yield f"The search space of {name} holds {value}: {error.errors()[0]['msg']}."


def start(base: FitOptions, space: Space) -> dict[str, Any]:
    """The base options' own values, as far as the space holds them."""
    return {name: getattr(base, name) for name, values in space.items() if _holds(values, getattr(base, name))}


def as_data(space: Space) -> dict[str, dict[str, Any]]:
    """The space as Optuna writes it."""
    return {name: json.loads(distribution_to_json(values)) for name, values in space.items()}


def in_words(value: object) -> str:
    """An option's value for people."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _known(base: FitOptions) -> dict[str, BaseDistribution]:
    """All that can be searched."""
    known = {**_SPACES[base.mode], **_ON_REQUEST}
    if not base.also:
        known.pop("also_weight", None)
    return known


def _unknown(base: FitOptions, names: Iterable[str]) -> Iterator[str]:
    known = _known(base)
    for name in names:
        if name not in known:
            why = " without --also" if name == "also_weight" and not base.also else ""
            yield f"{name} cannot be searched in mode {base.mode}{why}. There are: {', '.join(known)}."


def _ends(values: BaseDistribution) -> tuple[Any, ...]:
    """Values such that all are within bounds if these are."""
    if isinstance(values, CategoricalDistribution):
        return tuple(values.choices)
    if isinstance(values, FloatDistribution | IntDistribution):
        return values.low, values.high
    raise TypeError(f"{values} is no distribution that can be searched.")


def _holds(values: BaseDistribution, value: Any) -> bool:
    ends = _ends(values)
    return value in ends if isinstance(values, CategoricalDistribution) else ends[0] <= value <= ends[1]
