"""Admin pages of data sets."""

from __future__ import annotations

import io
from typing import Any

from django.contrib import admin
from django.core.exceptions import BadRequest
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.defaultfilters import filesizeformat
from django.urls import path
from django.utils.cache import patch_cache_control
from django.utils.translation import gettext_lazy as _

from classifier.imaging.decode import DecodeError, decode
from patchvote.accounts.models import current_user
from patchvote.cases.decoding import DECODING, STORED_LIMITS
from patchvote.jobs.models import OPEN_STATES, State
from patchvote.jobs.supervised_admin import SupervisedJobAdmin
from patchvote.training.data_sets import DataSetRefusedError, remove_files
from patchvote.training.forms import DataSetForm
from patchvote.training.models import DataSet, DataSetImage
from patchvote.training.overview import overview

_THUMBNAIL = 240
"""The longest side of a thumbnail in pixels."""


@admin.register(DataSet)
class DataSetAdmin(SupervisedJobAdmin):
    """The admin of data sets: add one from a zip, a folder or reviewed cases, inspect it, delete it while unused."""

    form = DataSetForm
    add_form_template = "admin/training/dataset_add.html"
    detail_template = "admin/training/_dataset.html"
    list_display = [
        "__str__", "status", "image_count", "patient_count", "size", "source", "synthetic", "created_by", "created_at",
    ]  # fmt: skip
    list_filter = ["state", "source", "synthetic"]
    list_select_related = ["created_by"]
    search_fields = ["name", "description", "fingerprint", "origin"]
    fieldsets = [
        (None, {"fields": ["name", "description", "source"]}),
        (_("Uploaded zip"), {"fields": ["archive"], "classes": ["source-archive"]}),
        (_("Folder on the server"), {"fields": ["folder"], "classes": ["source-folder"]}),
        (
            _("Reviewed cases"),
            {
                "fields": ["magnification", "since", "until", "only_corrected"],
                "classes": ["source-reviews"],
                "description": _(
                    "The newest review of each image counts; unfit images and synthetic samples are left out. The "
                    "patient is the case's reference; a case without one counts as a patient of its own."
                ),
            },
        ),
    ]

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        return super().get_fieldsets(request, obj) if obj is None else [(None, {"fields": ["name"]})]

    def get_urls(self) -> list[Any]:
        thumbnail = self.admin_site.admin_view(self.thumbnail)
        name = self.url_name("thumbnail")
        return [path("<uuid:pk>/images/<int:image>/", thumbnail, name=name), *super().get_urls()]

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return admin.ModelAdmin.has_add_permission(self, request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Deny deleting a data set that a run used or a job is using; an ended comparison keeps its numbers anyway."""
        if obj is not None and (
            not obj.ended or obj.runs.exists() or obj.comparisons.filter(state__in=OPEN_STATES).exists()
        ):
            return False
        return admin.ModelAdmin.has_delete_permission(self, request, obj)

    def get_actions(self, request: HttpRequest) -> Any:
        """Remove the bulk deletion: each data set needs its own check."""
        actions = super().get_actions(request)
        actions.pop("delete_selected", None)
        return actions

    def save_model(self, request: HttpRequest, obj: DataSet, form: Any, change: bool) -> None:
        obj.created_by = current_user(request)
        try:
            form.store(obj)
        except DataSetRefusedError as refusal:  # it has become invalid since the form was checked
            raise BadRequest(str(refusal)) from refusal

    def delete_model(self, request: HttpRequest, obj: DataSet) -> None:
        super().delete_model(request, obj)
        remove_files(obj)

    def get_queryset(self, request: HttpRequest) -> QuerySet[DataSet]:
        data_sets: QuerySet[DataSet] = super().get_queryset(request)
        return data_sets.defer("selection")

    def detail_context(self, request: HttpRequest, job: DataSet) -> dict[str, Any]:
        if job.state != State.SUCCEEDED:
            return {}
        return {"overview": overview(job), "runs": job.runs.all()[:20]}

    def thumbnail(self, request: HttpRequest, pk: Any, image: int) -> HttpResponse:
        """Return a small, re-encoded copy of an image of a data set."""
        data_set = self.visible(request, pk)
        row = data_set.images.filter(pk=image).first()
        if row is None:
            raise Http404
        try:
            data = _small(data_set, row)
        except (OSError, DecodeError):
            raise Http404 from None
        response = HttpResponse(data, content_type="image/jpeg")
        patch_cache_control(response, private=True, max_age=3600, immutable=True)
        return response

    @admin.display(description=_("size"), ordering="size_in_bytes")
    def size(self, data_set: DataSet) -> str:
        return filesizeformat(data_set.size_in_bytes) if data_set.size_in_bytes else "-"


def _small(data_set: DataSet, image: DataSetImage) -> bytes:
    from PIL import Image

    with DECODING, (data_set.root / image.path).open("rb") as file:
        copy = Image.fromarray(decode(file, STORED_LIMITS).pixels)
    copy.thumbnail((_THUMBNAIL, _THUMBNAIL), Image.Resampling.LANCZOS)
    encoded = io.BytesIO()
    copy.save(encoded, "JPEG", quality=85)
    return encoded.getvalue()
