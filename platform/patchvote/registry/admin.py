"""Model versions in the admin."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import admin
from django.db.models import Count, Exists, OuterRef, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from patchvote.readonly import ReadOnlyAdmin
from patchvote.registry.models import Alias, ModelVersion


@admin.register(ModelVersion)
class ModelVersionAdmin(ReadOnlyAdmin):
    """Versions never change; which of them serves is shown."""

    list_display = [
        "__str__",
        "serves",
        "network",
        "balanced_accuracy",
        "auc",
        "analyses",
        "synthetic_data",
        "created_at",
    ]
    list_filter = ["name"]
    search_fields = ["name", "sha256"]
    fields = ["name", "version", "serves", "sha256", "created_at", "analyses", "described"]
    readonly_fields = ["serves", "analyses", "described"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[ModelVersion]:
        serving = Alias.objects.filter(name=Alias.CHAMPION, model_version=OuterRef("pk"))
        versions: QuerySet[ModelVersion] = super().get_queryset(request)
        return versions.annotate(serves=Exists(serving), analysis_count=Count("analyses"))

    @admin.display(boolean=True, description=_("champion"))
    def serves(self, version: Any) -> bool:
        return bool(version.serves)

    @admin.display(description=_("network"))
    def network(self, version: ModelVersion) -> str:
        return str(version.metadata["network"])

    @admin.display(description=_("balanced accuracy"))
    def balanced_accuracy(self, version: ModelVersion) -> str:
        return _figure(version, "balanced_accuracy")

    @admin.display(description="AUC")
    def auc(self, version: ModelVersion) -> str:
        return _figure(version, "auc")

    @admin.display(description=_("analyses"), ordering="analysis_count")
    def analyses(self, version: Any) -> str:
        url = reverse("admin:cases_analysis_changelist")
        return format_html('<a href="{}?model_version__id__exact={}">{}</a>', url, version.pk, version.analysis_count)

    @admin.display(boolean=True, description=_("synthetic data"))
    def synthetic_data(self, version: ModelVersion) -> bool:
        return version.synthetic

    @admin.display(description=_("metadata"))
    def described(self, version: ModelVersion) -> str:
        return format_html("<pre>{}</pre>", json.dumps(version.metadata, indent=2, ensure_ascii=False))


def _figure(version: ModelVersion, name: str) -> str:
    """A metric of the metadata, as a number or as a number with an interval."""
    value = version.metadata.get("metrics", {}).get(name)
    if isinstance(value, dict):
        value = value.get("value")
    return f"{value:.3f}" if isinstance(value, int | float) else "-"
