"""The forms of the admin that make data sets and start runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

from django import forms
from django.contrib.admin.widgets import AdminDateWidget, RelatedFieldWidgetWrapper
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from pydantic import ValidationError as OptionsInvalidError

from classifier.bundle import MODEL_NAME
from classifier.grid import GRIDS, PatchGrid
from patchvote.cases.models import Magnification
from patchvote.training import data_sets
from patchvote.training.models import DataSet, Source, TrainingRun
from trainer.estimate import NETWORKS
from trainer.options import ALL, FitOptions, contradictions
from trainer.records import MAGNIFICATIONS

MODEL_NAME_RULE = _("Use small letters, digits, dots, hyphens and underscores, such as my-model-40x.")

FITTING: dict[Any, list[str]] = {
    _("What to train"): ["network", "mode", "magnification"],
    _("How it is measured"): ["protocol", "folds", "repeats", "threshold_rule"],
    _("Images"): ["also", "also_weight", "crops", "balance", "grid"],
    _("Frozen features"): ["c"],
    _("Training of the whole network"): [
        "epochs", "patience", "learning_rate", "backbone_rate", "schedule", "optimiser", "weight_decay", "ema", "draws",
        "batch_size", "anywhere", "turn", "stain", "seeds",
    ],
    _("Other"): ["test_time_flips", "seed"],
}  # fmt: skip
"""The options that the form offers, by fieldset; what is left out keeps its default."""

LABELS = {
    "network": _("Network"),
    "mode": _("Mode"),
    "task": _("Task"),
    "magnification": _("Magnification"),
    "protocol": _("Protocol"),
    "folds": _("Folds"),
    "repeats": _("Repeats"),
    "threshold_rule": _("Rule of the threshold"),
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
    "anywhere": _("Patches from anywhere"),
    "turn": _("Turned patches"),
    "stain": _("Stain jitter"),
    "seeds": _("Seeds"),
    "test_time_flips": _("Mirrored patches"),
    "seed": _("Seed"),
}
"""Of all options, those that the form does not offer too."""

PROTOCOLS = ("patient", "lopo", "thesis")
"""The official lists are files of BreakHis that a data set here does not carry."""

_CHOICES: dict[str, tuple[str, ...]] = {
    "network": tuple(NETWORKS),
    "magnification": (*MAGNIFICATIONS, ALL),
    "also": MAGNIFICATIONS[1:],
    "grid": tuple(GRIDS),
    "protocol": PROTOCOLS,
}


class OptionsRefusedError(ValueError):
    """Options that no run here can have.

    Attributes:
        problems: Sentences by option; under "" those about several.
    """

    def __init__(self, problems: dict[str, list[str]]) -> None:
        """Keep the sentences."""
        super().__init__("\n".join(sentence for sentences in problems.values() for sentence in sentences))
        self.problems = problems


def checked_options(values: Mapping[str, Any]) -> FitOptions:
    """The options of a run, judged by the trainer's rules and by what can work here.

    Args:
        values: Fields of `FitOptions`; those left out have their defaults. The grid may be a name of `GRIDS`.

    Raises:
        OptionsRefusedError: Listing everything that is wrong.
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
            gettext("There is no such network. There are: %(networks)s.") % {"networks": ", ".join(NETWORKS)}
        ]
    if options.protocol not in PROTOCOLS:
        problems["protocol"] = [
            gettext("BreakHis's official lists do not come with a data set here: choose another protocol.")
        ]
    if options.task != "malignancy":
        problems["task"] = [gettext("A model here tells benign from malignant: choose the task malignancy.")]
    if grid_name(options.grid) is None:
        problems["grid"] = [gettext("There is no such grid. There are: %(grids)s.") % {"grids": ", ".join(GRIDS)}]
    contradicting = contradictions(options)
    if contradicting:
        problems[""] = [_printable(sentence) for sentence in contradicting]
    if problems:
        raise OptionsRefusedError(problems)
    return options


def grid_name(grid: PatchGrid) -> str | None:
    """The name in `GRIDS` of a grid, if it has one."""
    return next((name for name, known in GRIDS.items() if known == grid), None)


def _printable(text: str) -> str:
    """Without the halves of characters that JSON can hold and no answer can."""
    return text.encode(errors="replace").decode()


def _option_field(name: str) -> forms.Field:
    """A form field for a field of `FitOptions`, with its default, bounds and description."""
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
        return forms.ChoiceField(choices=[(one, one) for one in values], initial=field.default, **common)
    if field.annotation is bool:
        return forms.BooleanField(initial=field.default, **common)
    kind = forms.IntegerField if field.annotation is int else forms.FloatField
    least, most = bounds.get("ge") or bounds.get("gt"), bounds.get("le") or bounds.get("lt")
    step = 1 if field.annotation is int else "any"
    return kind(
        initial=field.default,
        min_value=getattr(least, "ge", getattr(least, "gt", None)),
        max_value=getattr(most, "le", getattr(most, "lt", None)),
        widget=forms.NumberInput(attrs={"step": step}),
        **common,
    )


class _RunForm(forms.ModelForm[TrainingRun]):
    """A new run: the data set, the model's name, and the options."""

    class Meta:
        model = TrainingRun
        fields = ["data_set", "name", "note"]
        widgets = {"note": forms.Textarea(attrs={"rows": 2})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Offer the data sets that passed their check."""
        super().__init__(*args, **kwargs)
        self.options: FitOptions | None = None
        if "data_set" in self.fields:
            field: Any = self.fields["data_set"]
            field.queryset = data_sets.usable()
            if isinstance(field.widget, RelatedFieldWidgetWrapper):
                field.widget.can_add_related = field.widget.can_change_related = False
                field.widget.can_delete_related = field.widget.can_view_related = False
            self.fields["name"].widget.attrs |= {"pattern": MODEL_NAME, "placeholder": "my-model-40x"}

    def clean_name(self) -> str:
        """As a bundle wants it."""
        name: str = self.cleaned_data["name"]
        if not re.fullmatch(MODEL_NAME, name):
            raise forms.ValidationError(MODEL_NAME_RULE, "invalid")
        return name

    def clean(self) -> dict[str, Any]:
        """Let the trainer's own rules judge the options."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        values = {
            name: cleaned[name]
            for names in FITTING.values()
            for name in names
            if name in cleaned and cleaned[name] not in (None, "")
        }
        try:
            self.options = checked_options(values)
        except OptionsRefusedError as refusal:
            for name, sentences in refusal.problems.items():
                for sentence in sentences:
                    self.add_error(name if name in self.fields else None, sentence)
        return cleaned


RunForm = type("RunForm", (_RunForm,), {name: _option_field(name) for names in FITTING.values() for name in names})
"""`_RunForm` with a field for each option."""


class DataSetForm(forms.ModelForm[DataSet]):
    """A new data set, from one of three sources."""

    source = forms.ChoiceField(label=_("Source"), choices=Source, widget=forms.RadioSelect, initial=Source.ARCHIVE)
    archive = forms.FileField(
        label=_("Zip"),
        required=False,
        widget=forms.FileInput(attrs={"accept": ".zip,application/zip"}),
        help_text=_(
            "Images in BreakHis's folder tree, or any images with a manifest.csv that has the columns path, label "
            "(benign or malignant) and patient; optional: subtype, slide, magnification, whole."
        ),
    )
    folder = forms.CharField(
        label=_("Folder"), required=False, help_text=_("Read where it lies, and never changed. Offered are:")
    )
    magnification = forms.ChoiceField(
        label=_("Magnification"), required=False, choices=[("", _("all")), *Magnification.choices]
    )
    since = forms.DateField(label=_("Reviewed from"), required=False, widget=AdminDateWidget)
    until = forms.DateField(label=_("Reviewed until"), required=False, widget=AdminDateWidget)
    only_corrected = forms.BooleanField(
        label=_("Corrected verdicts alone"),
        required=False,
        help_text=_("Only images about which the reviewer contradicted the model: hard ones."),
    )

    class Meta:
        model = DataSet
        fields = ["name", "description"]
        widgets = {"description": forms.Textarea(attrs={"rows": 2})}
        help_texts = {"name": _("A name that exists already makes its next version.")}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Say which folders there are."""
        super().__init__(*args, **kwargs)
        if "folder" in self.fields:
            offered = ", ".join(data_sets.folders_to_choose()) or _("none")
            self.fields["folder"].help_text = f"{self.fields['folder'].help_text} {offered}"

    @property
    def selection(self) -> dict[str, Any]:
        """Which reviewed images, as plain data."""
        given = self.cleaned_data
        return {
            "magnification": given.get("magnification") or None,
            "since": given["since"].isoformat() if given.get("since") else None,
            "until": given["until"].isoformat() if given.get("until") else None,
            "only_corrected": bool(given.get("only_corrected")),
        }

    def clean(self) -> dict[str, Any]:
        """Refuse at once what can be seen at once."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        source = cleaned.get("source")
        if source == Source.ARCHIVE and "archive" not in self.errors:
            if cleaned.get("archive") is None:
                self.add_error("archive", _("Choose a zip."))
            else:
                for problem in data_sets.archive_problems(cleaned["archive"]):
                    self.add_error("archive", problem)
        elif source == Source.FOLDER and "folder" not in self.errors:
            if not cleaned.get("folder"):
                self.add_error("folder", _("Choose a folder."))
                return cleaned
            try:
                data_sets.find_folder(cleaned["folder"])
            except data_sets.DataSetRefusedError as refusal:
                self.add_error("folder", refusal.problems[0])
        return cleaned

    def store(self, data_set: DataSet) -> None:
        """Store the data set that this form describes.

        Raises:
            data_sets.DataSetRefusedError: If what was right a moment ago is no more.
        """
        given = self.cleaned_data
        if given["source"] == Source.ARCHIVE:
            data_sets.add_archive(data_set, given["archive"])
        elif given["source"] == Source.FOLDER:
            data_sets.add_folder(data_set, given["folder"])
        else:
            data_sets.add_reviews(data_set, self.selection)
