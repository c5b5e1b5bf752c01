"""Admin pages of model versions: metrics, the champion, uploads, promotions and rollbacks."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Exists, OuterRef, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import NoReverseMatch, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from classifier.bundle import BundleError
from patchvote.accounts.models import current_user
from patchvote.core.admin_base import ReadOnlyAdmin
from patchvote.jobs.supervised_admin import SupervisedJobAdmin
from patchvote.registry import downloads, promotions, tables, uploads
from patchvote.registry.forms import RollbackForm, UploadForm
from patchvote.registry.models import Alias, BundleUpload, ModelVersion, Origin, Promotion

MAY_PROMOTE = "registry.promote_modelversion"
_FINGERPRINT_DIGITS = 12
_SOURCES = {
    Origin.RUN: ("training_trainingrun_change", "runs"),
    Origin.UPLOAD: ("registry_bundleupload_change", "uploads"),
}
"""The admin page of the run or upload that a version comes from, and the relation that leads to it."""


def _url(name: str, *args: Any) -> str:
    """Return the URL of an admin page; empty if there is no such page."""
    try:
        return reverse(f"admin:{name}", args=args)
    except NoReverseMatch:
        return ""


@admin.register(ModelVersion)
class ModelVersionAdmin(ReadOnlyAdmin):
    """The admin of model versions: read-only, with a rollback of the champion."""

    list_display = [
        "__str__", "serves", "balanced_accuracy", "auc", "origin_text", "created_at", "protocol", "data", "analyses",
    ]  # fmt: skip
    list_filter = ["name", "origin", "created_at"]
    list_select_related = ["created_by"]
    search_fields = ["name", "sha256", "metadata"]
    fieldsets = [
        (None, {"fields": ["name", "version", "serves", "network", "origin_link", "created_at", "sha256", "analyses"]}),
        (_("Metrics"), {"fields": ["metrics", "confusion"]}),
        (_("Training data"), {"fields": ["training_data", "synthetic_data"]}),
        (_("Metadata"), {"fields": ["metadata_text"]}),
    ]
    readonly_fields = [
        "serves", "network", "origin_link", "analyses", "metrics", "confusion", "training_data", "synthetic_data",
        "metadata_text",
    ]  # fmt: skip
    show_full_result_count = False

    def get_urls(self) -> list[Any]:
        own = self.admin_site.admin_view
        return [
            path("rollback/", own(self.rollback), name="registry_modelversion_rollback"),
            path("<uuid:pk>/bundle/", own(self.download), name="registry_modelversion_bundle"),
            *super().get_urls(),
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[ModelVersion]:
        serving = Alias.objects.filter(name=Alias.CHAMPION, model_version=OuterRef("pk"))
        versions: QuerySet[ModelVersion] = super().get_queryset(request)
        return versions.annotate(serves=Exists(serving), analysis_count=Count("analyses"))

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        return super().changelist_view(request, self._allowed_actions(request) | (extra_context or {}))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        version = self.get_object(request, object_id)
        context = self._allowed_actions(request)
        if version is not None and self.has_view_permission(request, version):
            context["promotions"] = version.promotions.select_related("previous", "by")
            context["promote_url"] = "" if version.serves else _url("training_promote", version.pk)
        return super().change_view(request, object_id, form_url, context | (extra_context or {}))

    def _allowed_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Return the actions that the user may take: promote, roll back, upload."""
        may_promote = request.user.has_perm(MAY_PROMOTE)
        return {
            "may_promote": may_promote,
            "rollback_target": promotions.rollback_target() if may_promote and request.method == "GET" else None,
            "may_upload": request.user.has_perm("registry.add_bundleupload"),
        }

    def download(self, request: HttpRequest, pk: Any) -> HttpResponseBase:
        """Return the bundle as one zip."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        version = self.get_object(request, str(pk))
        if version is None:
            raise Http404
        try:
            return downloads.bundle_response(version)
        except BundleError:
            messages.error(request, gettext("The files of %(model)s are missing or were changed.") % {"model": version})
            return redirect(_url("registry_modelversion_change", version.pk))

    def rollback(self, request: HttpRequest) -> HttpResponse:
        """Ask for confirmation, then make the previous champion the champion again."""
        if not request.user.has_perm(MAY_PROMOTE):
            raise PermissionDenied
        form = RollbackForm(request.POST if request.method == "POST" else None)
        if request.method == "POST" and form.is_valid():
            try:
                version = promotions.roll_back(by=current_user(request), **form.cleaned_data)
            except promotions.PromotionRefusedError as error:
                messages.error(request, str(error))
            else:
                messages.success(request, gettext("New cases are analysed by %(model)s again.") % {"model": version})
            return redirect(_url("registry_modelversion_changelist"))
        # The champion is read before the target: if it changes in between, the form is refused.
        serving = Alias.objects.filter(name=Alias.CHAMPION).select_related("model_version").first()
        context = {
            **self.admin_site.each_context(request),
            "title": _("Roll back to the previous model"),
            "opts": self.opts,
            "form": form,
            "champion": serving.model_version if serving else None,
            "target": promotions.rollback_target(),
        }
        return TemplateResponse(request, "admin/registry/modelversion/rollback.html", context)

    @admin.display(boolean=True, description=_("champion"), ordering="serves")
    def serves(self, version: Any) -> bool:
        return bool(version.serves)

    @admin.display(description=_("network"))
    def network(self, version: ModelVersion) -> str:
        return str(version.metadata["network"])

    @admin.display(description=_("balanced accuracy"))
    def balanced_accuracy(self, version: ModelVersion) -> str:
        return tables.metric(version, "balanced_accuracy")

    @admin.display(description="AUC")
    def auc(self, version: ModelVersion) -> str:
        return tables.metric(version, "auc")

    @admin.display(description=_("protocol"))
    def protocol(self, version: ModelVersion) -> str:
        return str(version.metadata.get("metrics", {}).get("protocol", "-"))

    @admin.display(description=_("training data"))
    def data(self, version: ModelVersion) -> str:
        if version.synthetic:
            return gettext("synthetic")
        return str(version.metadata.get("data", {}).get("fingerprint", "-"))[:_FINGERPRINT_DIGITS]

    @admin.display(description=_("origin"))
    def origin_link(self, version: Any) -> str:
        """Return `origin_text` as a link to the run or the upload."""
        name, sources = _SOURCES.get(version.origin, ("", ""))
        source = getattr(version, sources).first() if sources else None
        url = _url(name, source.pk) if source else ""
        return format_html('<a href="{}">{}</a>', url, self.origin_text(version)) if url else self.origin_text(version)

    @admin.display(description=_("origin"), ordering="origin")
    def origin_text(self, version: Any) -> str:
        """Return the origin and the user who registered the version."""
        return ", ".join(str(part) for part in (version.get_origin_display(), version.created_by) if part)

    @admin.display(description=_("analyses"), ordering="analysis_count")
    def analyses(self, version: Any) -> str:
        url = reverse("admin:cases_analysis_changelist")
        return format_html('<a href="{}?model_version__id__exact={}">{}</a>', url, version.pk, version.analysis_count)

    @admin.display(boolean=True, description=_("synthetic data"))
    def synthetic_data(self, version: ModelVersion) -> bool:
        return version.synthetic

    @admin.display(description=_("measures"))
    def metrics(self, version: ModelVersion) -> SafeString:
        return tables.metrics(version)

    @admin.display(description=_("confusion matrix"))
    def confusion(self, version: ModelVersion) -> SafeString:
        return tables.confusion(version)

    @admin.display(description=_("training data"))
    def training_data(self, version: ModelVersion) -> SafeString:
        return tables.training_data(version)

    @admin.display(description=_("metadata"))
    def metadata_text(self, version: ModelVersion) -> SafeString:
        return tables.metadata(version)


@admin.register(Promotion)
class PromotionAdmin(ReadOnlyAdmin):
    """The admin of promotions and rollbacks."""

    list_display = ["at", "kind", "version", "previous", "by", "overridden", "reason"]
    list_filter = ["kind", "overridden", "at"]
    list_select_related = ["version", "previous", "by"]
    fields = ["at", "kind", "version", "previous", "by", "overridden", "reason", "compared"]
    readonly_fields = ["compared"]
    show_full_result_count = False

    @admin.display(description=_("comparison"))
    def compared(self, step: Promotion) -> SafeString:
        text = json.dumps(step.evidence, indent=2, ensure_ascii=False) if step.evidence else gettext("none")
        return format_html("<pre>{}</pre>", text)


@admin.register(BundleUpload)
class BundleUploadAdmin(SupervisedJobAdmin):
    """The admin of uploaded bundles: being tried, registered or refused."""

    form = UploadForm
    detail_template = "admin/registry/_upload.html"
    list_display = ["filename", "status", "version", "error", "created_by", "queued_at"]
    list_filter = ["state", "queued_at"]
    list_select_related = ["model_version", "created_by"]
    readonly_fields = ["version"]
    show_full_result_count = False
    view_on_site = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Allow uploads to users with the permission; the rows stay read-only."""
        return admin.ModelAdmin.has_add_permission(self, request)

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> Any:
        return super().add_view(request, form_url, {"title": _("Upload a bundle"), **(extra_context or {})})

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is None:
            return ["bundle"]
        return ["filename"]

    def save_form(self, request: HttpRequest, form: Any, change: bool) -> BundleUpload:
        return uploads.upload(form.cleaned_data["bundle"], by=current_user(request))

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Do nothing: `save_form` has stored the row with its file."""

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Do nothing: the row has no relations."""

    @admin.display(description=_("model version"))
    def version(self, upload: BundleUpload) -> Any:
        if upload.model_version is None:
            return "-"
        url = _url("registry_modelversion_change", upload.model_version.pk)
        return format_html('<a href="{}">{}</a>', url, upload.model_version)
