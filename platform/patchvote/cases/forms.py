"""Forms of the pages of cases and reviews."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from patchvote.cases.models import Case, Decision, Image, Review
from patchvote.registry.models import ModelVersion

ACCEPT = "image/png,image/jpeg,image/tiff,image/bmp,image/webp,.png,.jpg,.jpeg,.tif,.tiff,.bmp,.webp"


class ImagesInput(forms.ClearableFileInput):
    """A file input for several images."""

    allow_multiple_selected = True


class ImagesField(forms.FileField):
    """A field for one or more files; `patchvote.cases.submissions.submit` checks their content."""

    widget = ImagesInput

    def clean(self, data: Any, initial: Any = None) -> list[Any]:
        """Return a list of files, also for a single file."""
        files = data if isinstance(data, list | tuple) else [data]
        return [super(ImagesField, self).clean(file, initial) for file in files or [None]]


class CaseForm(forms.ModelForm[Case]):
    """The form that submits a case."""

    images = ImagesField(
        label=_("Images"),
        allow_empty_file=True,  # the decoder's message is better
        error_messages={"required": _("Choose at least one image.")},
        widget=ImagesInput(attrs={"accept": ACCEPT}),
    )

    class Meta:
        model = Case
        fields = ["images", "reference", "magnification", "notes"]
        widgets = {"notes": forms.Textarea(attrs={"rows": 3})}


class ReviewForm(forms.ModelForm[Review]):
    """The form that reviews an image; its submit buttons carry the decision."""

    decision = forms.ChoiceField(
        choices=Decision.choices, error_messages={"required": _("Choose a decision with one of the buttons.")}
    )
    analysis = forms.UUIDField(widget=forms.HiddenInput)

    class Meta:
        model = Review
        fields = ["comment"]
        labels = {"comment": _("Comment (optional)")}
        widgets = {"comment": forms.Textarea(attrs={"rows": 2})}

    def __init__(self, image: Image, **kwargs: Any) -> None:
        """Give the fields ids that are unique on a page with several images."""
        super().__init__(auto_id=f"review-{image.pk}-%s", **kwargs)
        self.image = image
        if image.analysis:
            self.fields["analysis"].initial = image.analysis.pk


class AnalyseAgainForm(forms.Form):
    """The form that chooses the model version for a new analysis."""

    NOT_THERE = _("This model version does not exist, or its files are missing.")

    version = forms.ModelChoiceField(
        ModelVersion.objects.all(),
        required=False,
        label=_("Model version"),
        empty_label=_("with the champion"),
        error_messages={"invalid_choice": NOT_THERE},
    )

    def clean_version(self) -> ModelVersion | None:
        """Refuse a version without files; checked here because a check of all versions would slow the page down."""
        version: ModelVersion | None = self.cleaned_data["version"]
        if version is not None and not version.folder.exists():
            raise forms.ValidationError(self.NOT_THERE, code="invalid_choice")
        return version


class SpanForm(forms.Form):
    """The form that chooses the reviews that the agreement page counts."""

    SPANS = [
        ("quarter", _("the last 13 weeks, by week")),
        ("year", _("the last 12 months, by month")),
        ("all", _("all time, by month")),
    ]

    span = forms.ChoiceField(choices=SPANS, required=False, label=_("Reviews of"))
    version = forms.ModelChoiceField(
        ModelVersion.objects.all(), required=False, label=_("Model version"), empty_label=_("all")
    )
