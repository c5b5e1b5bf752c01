"""Admin forms that add data sets and start training runs."""

from __future__ import annotations

import re
from typing import Any

from django import forms
from django.contrib.admin.widgets import AdminDateWidget, RelatedFieldWidgetWrapper
from django.utils.translation import gettext_lazy as _

from classifier.bundle import MODEL_NAME
from patchvote.cases.models import Magnification
from patchvote.training import data_sets
from patchvote.training.models import DataSet, Source, TrainingRun
from patchvote.training.options import FITTING, OptionsRefusedError, checked_options, option_field
from trainer.options import FitOptions

MODEL_NAME_RULE = _("Use lowercase letters, digits, dots, hyphens and underscores, such as my-model-40x.")


class _RunForm(forms.ModelForm[TrainingRun]):
    """The form that starts a run: the data set, the model's name, and the options."""

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
        """Refuse a name that a bundle cannot have."""
        name: str = self.cleaned_data["name"]
        if not re.fullmatch(MODEL_NAME, name):
            raise forms.ValidationError(MODEL_NAME_RULE, "invalid")
        return name

    def clean(self) -> dict[str, Any]:
        """Check the options with the trainer's own rules."""
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


RunForm = type("RunForm", (_RunForm,), {name: option_field(name) for names in FITTING.values() for name in names})
"""`_RunForm` with a field for each option."""


class DataSetForm(forms.ModelForm[DataSet]):
    """The form that adds a data set from one of three sources."""

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
        label=_("Folder"),
        required=False,
        help_text=_("The images are read in place and never changed. Available folders:"),
    )
    magnification = forms.ChoiceField(
        label=_("Magnification"), required=False, choices=[("", _("all")), *Magnification.choices]
    )
    since = forms.DateField(label=_("Reviewed from"), required=False, widget=AdminDateWidget)
    until = forms.DateField(label=_("Reviewed until"), required=False, widget=AdminDateWidget)
    only_corrected = forms.BooleanField(
        label=_("Corrected verdicts only"),
        required=False,
        help_text=_("Only images whose verdict a reviewer corrected: the difficult ones."),
    )

    class Meta:
        model = DataSet
        fields = ["name", "description"]
        widgets = {"description": forms.Textarea(attrs={"rows": 2})}
        help_texts = {"name": _("A name that exists already creates its next version.")}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """List the available folders in the help text."""
        super().__init__(*args, **kwargs)
        if "folder" in self.fields:
            offered = ", ".join(data_sets.folders_to_choose()) or _("none")
            self.fields["folder"].help_text = f"{self.fields['folder'].help_text} {offered}"

    @property
    def selection(self) -> dict[str, Any]:
        """The selection of reviewed images, as JSON data."""
        given = self.cleaned_data
        return {
            "magnification": given.get("magnification") or None,
            "since": given["since"].isoformat() if given.get("since") else None,
            "until": given["until"].isoformat() if given.get("until") else None,
            "only_corrected": bool(given.get("only_corrected")),
        }

    def clean(self) -> dict[str, Any]:
        """Refuse a zip or folder whose problems can be found quickly."""
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
            data_sets.DataSetRefusedError: If the source has become invalid since the form was checked.
        """
        given = self.cleaned_data
        if given["source"] == Source.ARCHIVE:
            data_sets.add_archive(data_set, given["archive"])
        elif given["source"] == Source.FOLDER:
            data_sets.add_folder(data_set, given["folder"])
        else:
            data_sets.add_reviews(data_set, self.selection)
