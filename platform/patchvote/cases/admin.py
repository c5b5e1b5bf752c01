"""Admin pages of cases, images, analyses and reviews: read-only, with actions to cancel and to analyse again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib import admin, messages
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.http import urlencode
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from patchvote.cases import services
from patchvote.cases.models import Analysis, Case, Image, Review
from patchvote.core.admin_base import ReadOnlyAdmin
from patchvote.registry.services import NoChampionError


def _link(name: str, target: Any, text: Any = None) -> SafeString:
    return format_html('<a href="{}">{}</a>', reverse(f"admin:{name}_change", args=[target.pk]), text or target)


def _thumbnail(image: Image) -> SafeString:
    return format_html('<img src="{}?size=thumbnail" alt="" height="60">', image.get_absolute_url())


class ImageInline(admin.TabularInline[Image, Case]):
    """The images of a case."""

    model = Image
    fields = ["picture", "filename", "pixels", "analyses"]
    readonly_fields = ["picture", "filename", "pixels", "analyses"]
    extra = 0
    can_delete = False
    show_change_link = True

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description=_("image"))
    def picture(self, image: Image) -> SafeString:
        return _thumbnail(image)

    @admin.display(description=_("size"))
    def pixels(self, image: Image) -> str:
        return f"{image.width} x {image.height}"

    @admin.display(description=_("analyses"))
    def analyses(self, image: Image) -> SafeString:
        rows = image.analyses.select_related("model_version")
        return format_html_join(
            mark_safe("<br>"),
            "{} ({})",
            ((_link("cases_analysis", a, _verdict_or_state(a)), a.model_version) for a in rows),
        )


def _verdict_or_state(analysis: Analysis) -> str:
    return str(analysis.get_verdict_display() or analysis.get_state_display())


def _link_to_reviews(reviews: QuerySet[Review], **filters: Any) -> SafeString:
    """Return the number of reviews as a link to the filtered change list."""
    query = urlencode({f"{name}__id__exact": target.pk for name, target in filters.items()})
    return format_html('<a href="{}?{}">{}</a>', reverse("admin:cases_review_changelist"), query, reviews.count())


@admin.register(Case)
class CaseAdmin(ReadOnlyAdmin):
    """The admin of cases, with their images and analyses."""

    list_display = ["__str__", "submitter", "created_at", "state", "verdict", "image_count", "magnification", "page"]
    list_filter = ["state", "verdict", "magnification", "synthetic", "created_at"]
    list_select_related = ["submitter"]
    search_fields = ["reference", "notes", "images__filename", "submitter__username", "id"]
    date_hierarchy = "created_at"
    fields = [
        "id",
        "reference",
        "submitter",
        "created_at",
        "state",
        "verdict",
        "magnification",
        "synthetic",
        "notes",
        "page",
        "reviews",
    ]
    readonly_fields = ["page", "reviews"]
    inlines = [ImageInline]
    actions = ["cancel", "analyse_again"]
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Case]:
        cases: QuerySet[Case] = super().get_queryset(request)
        return cases.annotate(number_of_images=Count("images"))

    @admin.display(description=_("images"), ordering="number_of_images")
    def image_count(self, case: Any) -> int:
        return int(case.number_of_images)

    @admin.display(description=_("page"))
    def page(self, case: Case) -> SafeString:
        return format_html('<a href="{}">{}</a>', case.get_absolute_url(), _("result page"))

    @admin.display(description=_("reviews"))
    def reviews(self, case: Case) -> SafeString:
        return _link_to_reviews(Review.objects.filter(image__case=case), image__case=case)

    @admin.action(description=_("Cancel unfinished analyses"), permissions=["view"])
    def cancel(self, request: HttpRequest, queryset: QuerySet[Case]) -> None:
        self._apply(services.cancel, request, queryset)

    @admin.action(description=_("Analyse again with the champion"), permissions=["view"])
    def analyse_again(self, request: HttpRequest, queryset: QuerySet[Case]) -> None:
        self._apply(services.analyse_again, request, queryset)

    def _apply(self, operation: Any, request: HttpRequest, queryset: QuerySet[Case]) -> None:
        """Apply an operation to each case; warn about the cases whose state does not allow it."""
        done = 0
        for case in queryset:
            try:
                operation(case)
                done += 1
            except (services.StateError, NoChampionError) as error:
                messages.warning(request, f"{case}: {error}")
        if done:
            messages.success(request, ngettext("%(n)d case changed.", "%(n)d cases changed.", done) % {"n": done})


@admin.register(Image)
class ImageAdmin(ReadOnlyAdmin):
    """The admin of images; reached from the page of a case."""

    list_display = ["filename", "picture", "case_link", "width", "height", "format", "sha256"]
    list_select_related = ["case"]
    search_fields = ["filename", "sha256", "case__reference"]
    fields = ["picture", "filename", "case_link", "format", "width", "height", "sha256", "reviews"]
    readonly_fields = ["picture", "case_link", "reviews"]
    show_full_result_count = False

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Hide images from the admin's index."""
        return False

    @admin.display(description=_("image"))
    def picture(self, image: Image) -> SafeString:
        return _thumbnail(image)

    @admin.display(description=_("case"))
    def case_link(self, image: Image) -> SafeString:
        return _link("cases_case", image.case)

    @admin.display(description=_("reviews"))
    def reviews(self, image: Image) -> SafeString:
        return _link_to_reviews(image.reviews.all(), image=image)


class ErrorCodeFilter(admin.AllValuesFieldListFilter):
    """Filter by error code; the link for analyses without one has a text, which screen readers need."""

    def choices(self, changelist: Any) -> Iterator[Any]:
        """Yield the links of the filter."""
        for choice in super().choices(changelist):
            yield {**choice, "display": choice["display"] or self.empty_value_display}


@admin.register(Analysis)
class AnalysisAdmin(ReadOnlyAdmin):
    """The admin of analyses: the result of a model version for an image, and the state of the job."""

    list_display = [
        "__str__", "case_link", "state", "verdict", "share", "model_link", "attempts", "queued_at",
        "finished_at", "current",
    ]  # fmt: skip
    list_filter = ["state", "verdict", "model_version", "current", ("error_code", ErrorCodeFilter)]
    list_select_related = ["image__case", "model_version"]
    search_fields = ["id", "image__filename", "image__case__reference"]
    fields = [
        "case_link", "image_link", "model_link", "current", "state", "attempts", "worker", "engine", "queued_at",
        "started_at", "finished_at", "lease_expires_at", "error_code", "error", "verdict", "share",
        "threshold", "malignant_probability", "votes_table",
    ]  # fmt: skip
    readonly_fields = ["case_link", "image_link", "model_link", "share", "votes_table"]
    show_full_result_count = False

    @admin.display(description=_("malignant share"), ordering="malignant_share")
    def share(self, analysis: Analysis) -> str:
        return "-" if analysis.malignant_share is None else f"{analysis.malignant_share:.3f}"

    @admin.display(description=_("case"))
    def case_link(self, analysis: Analysis) -> SafeString:
        return _link("cases_case", analysis.image.case)

    @admin.display(description=_("image"))
    def image_link(self, analysis: Analysis) -> SafeString:
        return _link("cases_image", analysis.image)

    @admin.display(description=_("model version"))
    def model_link(self, analysis: Analysis) -> SafeString:
        return _link("registry_modelversion", analysis.model_version)

    @admin.display(description=_("votes"))
    def votes_table(self, analysis: Analysis) -> SafeString:
        cells = ((v["row"], v["column"], f"{v['malignant_probability']:.3f}", v["vote"]) for v in analysis.votes)
        rows = format_html_join("", "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>", cells)
        head = (_("row"), _("column"), _("probability"), _("vote"))
        return format_html("<table><tr><th>{}</th><th>{}</th><th>{}</th><th>{}</th></tr>{}</table>", *head, rows)


@admin.register(Review)
class ReviewAdmin(ReadOnlyAdmin):
    """The admin of reviews."""

    list_display = ["created_at", "reviewer", "decision", "label", "case_link", "image_link", "model_link", "comment"]
    list_filter = [
        "decision", "label", "analysis__model_version", ("reviewer", admin.RelatedOnlyFieldListFilter),
    ]  # fmt: skip
    list_select_related = ["reviewer", "image__case", "analysis__model_version"]
    search_fields = ["comment", "reviewer__username", "image__filename", "image__case__reference"]
    date_hierarchy = "created_at"
    fields = [
        "created_at", "reviewer", "decision", "label", "comment", "case_link", "image_link", "analysis_link",
        "model_link",
    ]  # fmt: skip
    readonly_fields = ["case_link", "image_link", "analysis_link", "model_link"]
    show_full_result_count = False

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        """Also allow the filters that the pages of cases and images link to."""
        return lookup in {"image__case__id__exact", "image__id__exact"} or super().lookup_allowed(
            lookup, value, request
        )

    @admin.display(description=_("case"))
    def case_link(self, review: Review) -> SafeString:
        return _link("cases_case", review.image.case)

    @admin.display(description=_("image"))
    def image_link(self, review: Review) -> SafeString:
        return _link("cases_image", review.image)

    @admin.display(description=_("analysis"))
    def analysis_link(self, review: Review) -> SafeString:
        return _link("cases_analysis", review.analysis)

    @admin.display(description=_("model version"))
    def model_link(self, review: Review) -> SafeString:
        return _link("registry_modelversion", review.analysis.model_version)
