"""The options of a run in the admin and the API: labels, form fields, and the limits of this installation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

from django import forms
from django.utils.text import format_lazy
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from pydantic import ValidationError as OptionsInvalidError

from classifier.grid import GRIDS, PatchGrid
from trainer.data.records import MAGNIFICATIONS
from trainer.experiments.estimate import NETWORKS
from trainer.options import ALL, FitOptions, contradictions

FITTING: dict[Any, list[str]] = {
    _("What to train"): ["network", "mode", "magnification"],
    _("How it is evaluated"): ["protocol", "folds", "repeats", "threshold_rule"],
    _("Images"): ["also", "also_weight", "crops", "balance", "grid"],
    _("Frozen features"): ["c"],
    _("Training of the whole network"): [
        "epochs", "patience", "learning_rate", "backbone_rate", "schedule", "optimiser", "weight_decay", "ema", "draws",
        "batch_size", "anywhere", "turn", "stain", "seeds",
    ],
    _("Other"): ["test_time_flips", "seed"],
}  # fmt: skip
"""The options that the form offers, by fieldset; all others keep their defaults."""

LABELS = {
    "network": _("Network"),
    "mode": _("Mode"),
    "task": _("Task"),
    "magnification": _("Magnification"),
    "protocol": _("Protocol"),
    "folds": _("Folds"),
    "repeats": _("Repeats"),
    "threshold_rule": _("Threshold rule"),
    "also": _("Other magnifications"),
    "also_weight": _("Their weight"),
    "crops": _("Crops"),
    "balance": _("Balance"),
    "grid": _("Grid"),
    "c": _("C of the head"),
    "epochs": _("Epochs"),
    "patience": _("Patience"),
    "learning_rate": _("Learning rate"),
    "backbone_rate": _("Share of the pretrained layers"),
    "schedule": _("Schedule"),
    "optimiser": _("Optimiser"),
    "weight_decay": _("Weight decay"),
    "ema": _("Moving average"),
    "draws": _("Draws"),
    "batch_size": _("Batch size"),
    "anywhere": _("Patches from any position"),
    "turn": _("Rotated patches"),
    "stain": _("Stain jitter"),
    "seeds": _("Seeds"),
    "test_time_flips": _("Mirrored patches"),
    "seed": _("Seed"),
}
"""The labels of all options, including the ones that the form does not offer."""

WITH_WEIGHTS = frozenset({"efficientnet_lite0"})
"""Networks whose ImageNet weights are installed; other weights are downloaded when a run needs them."""

PROTOCOLS = ("patient", "lopo", "thesis")
"""The available protocols. `official` needs files of BreakHis that a data set does not contain."""

_CHOICES: dict[str, tuple[str, ...]] = {
    "network": tuple(NETWORKS),
    "magnification": (*MAGNIFICATIONS, ALL),
    "also": MAGNIFICATIONS[1:],
    "grid": tuple(GRIDS),
    "protocol": PROTOCOLS,
}


class OptionsRefusedError(ValueError):
    """The refusal of options.

    Attributes:
        problems: The problems by option; under "" the problems that concern several options.
    """

    def __init__(self, problems: dict[str, list[str]]) -> None:
        """Store the problems."""
        super().__init__("\n".join(sentence for sentences in problems.values() for sentence in sentences))
        self.problems = problems


def checked_options(values: Mapping[str, Any]) -> FitOptions:
    """Check the options of a run by the trainer's rules and by the limits of this installation.

    Args:
        values: Fields of `FitOptions`; missing fields have their defaults. The grid may be a key of `GRIDS`.

    Returns:
        The options.

    Raises:
        OptionsRefusedError: If an option is invalid; lists all problems.
    """
    grid = values.get("grid")
    if isinstance(grid, str):
        values = {**values, "grid": GRIDS.get(grid, grid)}
    problems: dict[str, list[str]] = {}
    try:
        options = FitOptions.model_validate(values)
    except OptionsInvalidError as error:
        for wrong in error.errors():
            problems.setdefault(_printable(".".join(map(str, wrong["loc"]))), []).append(wrong["msg"])
        raise OptionsRefusedError(problems) from error
    if options.network not in NETWORKS:
        problems["network"] = [
            gettext("This network does not exist. Available networks: %(networks)s.")
            % {"networks": ", ".join(NETWORKS)}
        ]
    if options.protocol not in PROTOCOLS:
        problems["protocol"] = [
            gettext("A data set does not contain BreakHis's official lists: choose another protocol.")
        ]
    if options.task != "malignancy":
        problems["task"] = [
            gettext("Models of this platform distinguish benign from malignant: choose the task malignancy.")
        ]
    if grid_name(options.grid) is None:
        problems["grid"] = [
            gettext("This grid does not exist. Available grids: %(grids)s.") % {"grids": ", ".join(GRIDS)}
        ]
    contradicting = contradictions(options)
    if contradicting:
        problems[""] = [_printable(sentence) for sentence in contradicting]
    if problems:
        raise OptionsRefusedError(problems)
    return options


def grid_name(grid: PatchGrid) -> str | None:
    """Return the key of a grid in `GRIDS`, if it has one."""
    return next((name for name, known in GRIDS.items() if known == grid), None)


def _printable(text: str) -> str:
    """Replace lone surrogates, which JSON input can contain but a response cannot."""
    return text.encode(errors="replace").decode()


def _choice_label(choice: str) -> Any:
    return format_lazy("{} · {}", choice, _("ImageNet weights installed")) if choice in WITH_WEIGHTS else choice


def option_field(name: str) -> forms.Field:
    """Return a form field for a field of `FitOptions`, with its default, bounds and description."""
    field = FitOptions.model_fields[name]
    bounds = {type(bound).__name__.lower(): bound for bound in field.metadata}
    common: dict[str, Any] = {
        "label": LABELS[name],
        "help_text": _(field.description or ""),
        "required": False,
    }
    if name == "also":
        choices = [(one, one) for one in _CHOICES[name]]
        return forms.MultipleChoiceField(choices=choices, widget=forms.CheckboxSelectMultiple, **common)
    if name == "grid":
        return forms.ChoiceField(choices=[(one, one) for one in GRIDS], initial="cover", **common)
    if name in _CHOICES or get_origin(field.annotation) is Literal:
        values = _CHOICES.get(name) or get_args(field.annotation)
        return forms.ChoiceField(choices=[(one, _choice_label(one)) for one in values], initial=field.default, **common)
    if field.annotation is bool:
        return forms.BooleanField(initial=field.default, **common)
    field_class = forms.IntegerField if field.annotation is int else forms.FloatField
    least, most = bounds.get("ge") or bounds.get("gt"), bounds.get("le") or bounds.get("lt")
    step = 1 if field.annotation is int else "any"
    return field_class(
        initial=field.default,
        min_value=getattr(least, "ge", getattr(least, "gt", None)),
        max_value=getattr(most, "le", getattr(most, "lt", None)),
        widget=forms.NumberInput(attrs={"step": step}),
        **common,
    )
