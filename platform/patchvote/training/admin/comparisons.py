"""Admin pages of comparisons, with the page that compares a model version with the champion and promotes it."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import path
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from patchvote.accounts.models import current_user
from patchvote.jobs.models import State
from patchvote.jobs.supervised_admin import SupervisedJobAdmin
from patchvote.registry import promotions
from patchvote.registry.gate import SHORTEST_REASON, decide
from patchvote.registry.models import ModelVersion
from patchvote.registry.services import NoChampionError, champion
from patchvote.training import comparisons, data_sets, differences
from patchvote.training.models import Comparison, DataSet


class CompareForm(forms.Form):
    """The form that chooses the data sets of a comparison."""

    data_sets = forms.ModelMultipleChoiceField(
        DataSet.objects.none(),
        label=_("data sets"),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text=_("All that are not synthetic, if none is chosen."),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Offer the data sets that passed their check."""
        super().__init__(*args, **kwargs)
        self.fields["data_sets"].queryset = data_sets.usable()  # type: ignore[attr-defined]  # a ModelChoiceField


class PromoteForm(forms.Form):
    """The form that promotes a version, with a reason if the gate requires one."""

    reason = forms.CharField(
        label=_("Reason"), required=False, max_length=2000, widget=forms.Textarea(attrs={"rows": 3, "cols": 70})
    )


@admin.register(Comparison)
class ComparisonAdmin(SupervisedJobAdmin):
    """The admin of comparisons, with the page that promotes a version."""

    detail_template = "admin/training/_comparison.html"
    list_display = ["__str__", "status", "images", "patients", "created_by", "queued_at"]
    list_select_related = ["candidate", "champion", "created_by"]
    list_filter = ["state"]
    fieldsets = [(None, {"fields": ["candidate"]})]

    def get_urls(self) -> list[Any]:
        """Add the pages that compare and promote a version."""
        promote = self.admin_site.admin_view(self.promote_page)
        compare = self.admin_site.admin_view(require_POST(self.compare))
        return [
            path("promote/<uuid:version>/", promote, name="training_promote"),
            path("promote/<uuid:version>/compare/", compare, name="training_compare"),
            *super().get_urls(),
        ]

    def detail_context(self, request: HttpRequest, job: Comparison) -> dict[str, Any]:
        return result_context(job)

    def compare(self, request: HttpRequest, version: Any) -> HttpResponse:
        """Queue a comparison of a version with the champion."""
        candidate = get_object_or_404(ModelVersion, pk=version)
        if not admin.ModelAdmin.has_add_permission(self, request):
            raise PermissionDenied
        form = CompareForm(request.POST)
        if form.is_valid():
            try:
                comparisons.start(candidate, among=form.cleaned_data["data_sets"], by=current_user(request))
            except (comparisons.ComparisonRefusedError, NoChampionError) as refusal:
                messages.warning(request, str(refusal))
        return redirect("admin:training_promote", candidate.pk)

    def promote_page(self, request: HttpRequest, version: Any) -> HttpResponse:
        """Show candidate and champion side by side; promote the candidate if the gate or a reason allows it."""
        candidate = get_object_or_404(ModelVersion, pk=version)
        if not request.user.has_perm("registry.view_modelversion"):
            raise PermissionDenied
        serving = _champion()
        comparison = comparisons.latest(candidate, serving) if serving else None
        evidence = comparisons.evidence_for(candidate, serving) if serving else None
        form = PromoteForm(request.POST or None)
        may_promote = request.user.has_perm("registry.promote_modelversion")
        if request.method == "POST" and form.is_valid():
            if not may_promote:
                raise PermissionDenied
            try:
                comparisons.promote(candidate, by=current_user(request), reason=form.cleaned_data["reason"])
            except promotions.PromotionRefusedError as refusal:
                form.add_error("reason", str(refusal))
            else:
                messages.success(
                    request, _("The champion is now %(version)s, which analyses new cases.") % {"version": candidate}
                )
                return redirect("admin:registry_modelversion_change", candidate.pk)
        context = {
            **self.admin_site.each_context(request),
            "title": _("Compare and promote"),
            "subtitle": str(candidate),
            "opts": ModelVersion._meta,  # noqa: SLF001 (the admin's templates need it)
            "original": candidate,
            "candidate": candidate,
            "champion": serving,
            "versions": [version for version in (serving, candidate) if version is not None],
            "comparison": comparison,
            "decision": decide(candidate, evidence, champion=serving),
            "form": form,
            "shortest_reason": SHORTEST_REASON,
            "may_promote": may_promote,
            "compare_form": CompareForm() if admin.ModelAdmin.has_add_permission(self, request) else None,
        }
        if comparison is not None:
            context |= self.live_context(request, comparison) | result_context(comparison)
        return TemplateResponse(request, "admin/training/promote.html", context)

    @admin.display(description=_("images"))
    def images(self, comparison: Comparison) -> str:
        return str(comparison.result.get("images", "-"))

    @admin.display(description=_("patients"))
    def patients(self, comparison: Comparison) -> str:
        return str(comparison.result.get("patients", "-"))


def result_context(comparison: Comparison) -> dict[str, Any]:
    """Return the context of `_comparison.html`; empty until there is a result."""
    if comparison.state != State.SUCCEEDED:
        return {}
    return {
        "comparison": comparison,
        "rows": differences.rows(comparison),
        "chart": differences.chart(comparison),
        "notes": comparisons.notes(comparison),
    }


def _champion() -> ModelVersion | None:
    try:
        return champion()
    except NoChampionError:
        return None
