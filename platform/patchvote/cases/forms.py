"""The form that sends a case."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.utils.translation import gettext_lazy as _

from patchvote.cases.models import Case

ACCEPT = "image/png,image/jpeg,image/tiff,image/bmp,image/webp,.png,.jpg,.jpeg,.tif,.tiff,.bmp,.webp"


class ImagesInput(forms.ClearableFileInput):
    """A file input for several images."""

    allow_multiple_selected = True


class ImagesField(forms.FileField):
    """One or more files; what they hold is checked by `patchvote.cases.services.submit`."""

    widget = ImagesInput

    def clean(self, data: Any, initial: Any = None) -> list[Any]:
        """A list, whatever came."""
        files = data if isinstance(data, list | tuple) else [data]
        return [super(ImagesField, self).clean(file, initial) for file in files or [None]]


class CaseForm(forms.ModelForm[Case]):
    """A new case."""

    images = ImagesField(
        label=_("Images"),
        allow_empty_file=True,  # the decoder has the better sentence
        error_messages={"required": _("Choose at least one image.")},
        widget=ImagesInput(attrs={"accept": ACCEPT}),
    )

    class Meta:
        model = Case
        fields = ["images", "reference", "magnification", "notes"]
        widgets = {"notes": forms.Textarea(attrs={"rows": 3})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Tell the page's script the bounds, for instant feedback."""
        super().__init__(*args, **kwargs)
        self.fields["images"].widget.attrs |= {
            "data-max-bytes": settings.UPLOAD_MAX_BYTES,
            "data-max-pixels": settings.UPLOAD_MAX_PIXELS,
            "data-max-images": settings.UPLOAD_MAX_IMAGES,
        }
