"""Forms of the registry."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from classifier import bundle
from patchvote.registry import uploads
from patchvote.registry.models import BundleUpload, ModelVersion


class UploadForm(forms.ModelForm[BundleUpload]):
    """The form that uploads a bundle as a zip."""

    bundle = forms.FileField(
        label=_("Bundle"),
        help_text=_(
            "One zip with model.safetensors and metadata.json, as downloaded from the page of a model version. It is "
            "tried on a known image before it becomes a model version; it does not analyse cases until it is promoted."
        ),
        widget=forms.ClearableFileInput(attrs={"accept": ".zip,application/zip"}),
    )

    class Meta:
        model = BundleUpload
        fields: list[str] = []

    def clean_bundle(self) -> Any:
        """Refuse a zip that cannot be a bundle."""
        file = self.cleaned_data["bundle"]
        try:
            bundle.check(file, max_bytes=settings.BUNDLE_MAX_BYTES)
        except bundle.BundleError as error:
            raise ValidationError(uploads.error_message(error), code="bad_bundle") from error
        return file


class RollbackForm(forms.Form):
    """The form that rolls back the champion: the champion that the page showed, and an optional reason."""

    leaving = forms.ModelChoiceField(
        ModelVersion.objects.all(),
        widget=forms.HiddenInput,
        error_messages=dict.fromkeys(
            ("required", "invalid_choice"),
            _("The current champion is missing from the request. Check this page and try again."),
        ),
    )
    reason = forms.CharField(
        label=_("Reason"), required=False, max_length=2000, widget=forms.Textarea(attrs={"rows": 3, "cols": 60})
    )
