"""Admin pages of training runs."""

from __future__ import annotations

import uuid
from typing import Any

from csp.decorators import csp_replace
from django.contrib import admin
from django.db.models import QuerySet
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, JsonResponse
from django.urls import path, reverse
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.clickjacking import xframe_options_sameorigin

from classifier.grid import PatchGrid
from patchvote.accounts.models import current_user
from patchvote.jobs.models import State
from patchvote.jobs.supervised_admin import SupervisedJobAdmin
from patchvote.training import curves, runs
from patchvote.training.durations import in_words
from patchvote.training.forms import RunForm
from patchvote.training.models import TrainingRun
from patchvote.training.options import FITTING, LABELS, grid_name
from trainer.options import FitOptions
from trainer.worker.protocol import LOG_FILE

_EXPANDED = {"network", "protocol"}
"""The fieldsets with these options are expanded, all others collapsed."""

_REPORT_POLICY = {
    "default-src": ["'none'"],
    "style-src": ["'unsafe-inline'"],
    "img-src": ["data:"],
    "frame-ancestors": ["'self'"],
    "sandbox": ["allow-popups", "allow-downloads"],
}
"""The Content-Security-Policy of the report: a page with inline styles and without scripts."""


@admin.register(TrainingRun)
class RunAdmin(SupervisedJobAdmin):
    """The admin of training runs: start, watch and cancel them."""

    form = RunForm
    add_form_template = "admin/training/run_add.html"
    live_template = "admin/training/_run.html"
    detail_template = "admin/training/_run_result.html"
    list_display = [
        "__str__", "status", "data_set", "network", "protocol", "balanced_accuracy", "auc", "version_link",
        "created_by", "queued_at",
    ]  # fmt: skip
    list_filter = ["state", "name"]
    list_select_related = ["data_set", "model_version", "created_by"]
    search_fields = ["name", "note", "data_set__name"]

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Collapse the fieldsets of advanced options."""
        if obj is not None:
            return [(None, {"fields": ["name"]})]
        offered = [
            (title, {"fields": names, "classes": [] if _EXPANDED.intersection(names) else ["collapse"]})
            for title, names in FITTING.items()
        ]
        return [(None, {"fields": ["data_set", "name", "note"]}), *offered]

    def get_urls(self) -> list[Any]:
        views = {"report": self.report, "log": self.log}
        return [
            path("estimate/", self.admin_site.admin_view(self.estimate), name=self.url_name("estimate")),
            *(
                path(f"<uuid:pk>/{name}/", self.admin_site.admin_view(view), name=self.url_name(name))
                for name, view in views.items()
            ),
            *super().get_urls(),
        ]

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return admin.ModelAdmin.has_add_permission(self, request)

    def get_changeform_initial_data(self, request: HttpRequest) -> Any:
        """Return the options of the run that `?again=<id>` names, or the name of the newest run."""
        initial = super().get_changeform_initial_data(request)
        other = _run_of(str(initial.pop("again", "")))
        if other is None:
            newest = TrainingRun.objects.first()
            return {"name": newest.name} | initial if newest else initial
        given = {"data_set": other.data_set_id, "name": other.name, "note": other.note}
        return given | _with_grid_name(other.options)

    def save_model(self, request: HttpRequest, obj: TrainingRun, form: Any, change: bool) -> None:
        obj.created_by = current_user(request)
        runs.start(obj, form.options)

    def get_queryset(self, request: HttpRequest) -> QuerySet[TrainingRun]:
        found: QuerySet[TrainingRun] = super().get_queryset(request)
        return found.select_related("data_set", "model_version", "created_by")

    def live_context(self, request: HttpRequest, job: TrainingRun) -> dict[str, Any]:
        """Add the learning curves and the end of the log."""
        total = job.fold_count
        latest = job.epochs.last()
        return super().live_context(request, job) | {
            "curves": curves.chart(job),
            "log": job.log_end(),
            "folds_done": job.folds.count(),
            "folds_total": total,
            "latest": latest,
            "final": latest is not None and total is not None and latest.fold >= total,
            "estimated": in_words(job.estimated_seconds),
        }

    def detail_context(self, request: HttpRequest, job: TrainingRun) -> dict[str, Any]:
        return {
            "options": _option_rows(job.options),
            "has_report": job.state == State.SUCCEEDED and job.report.is_file(),
            "fold_rows": job.folds.all(),
        }

    def estimate(self, request: HttpRequest) -> JsonResponse:
        """Return how long a run with the options of the form would take."""
        form = RunForm(request.GET)
        if not self.has_add_permission(request) or not form.is_valid() or form.options is None:
            return JsonResponse({"text": ""})
        seconds = runs.estimated_seconds(form.cleaned_data["data_set"], form.options)
        return JsonResponse({"text": gettext("Estimated duration: %(time)s.") % {"time": in_words(seconds)}})

    @method_decorator([csp_replace(_REPORT_POLICY), xframe_options_sameorigin])
    def report(self, request: HttpRequest, pk: Any) -> Any:
        """Return the report of the run's study."""
        return self._file(request, pk, "report.html", "text/html; charset=utf-8")

    def log(self, request: HttpRequest, pk: Any) -> Any:
        """Return the complete log of the run's processes."""
        return self._file(request, pk, LOG_FILE, "text/plain; charset=utf-8")

    def _file(self, request: HttpRequest, pk: Any, name: str, content_type: str) -> HttpResponse | FileResponse:
        run = self.visible(request, pk)
        try:
            return FileResponse((run.folder / name).open("rb"), content_type=content_type)
        except OSError:
            raise Http404 from None

    @admin.display(description=_("network"))
    def network(self, run: TrainingRun) -> str:
        return f"{run.options['network']} · {run.options['mode']}"

    @admin.display(description=_("protocol"))
    def protocol(self, run: TrainingRun) -> str:
        return str(run.options["protocol"])

    @admin.display(description=_("balanced accuracy"))
    def balanced_accuracy(self, run: TrainingRun) -> str:
        return _metric(run, "balanced_accuracy")

    @admin.display(description="AUC")
    def auc(self, run: TrainingRun) -> str:
        return _metric(run, "auc")

    @admin.display(description=_("model version"), ordering="model_version")
    def version_link(self, run: TrainingRun) -> str:
        if run.model_version is None:
            return "-"
        url = reverse("admin:registry_modelversion_change", args=[run.model_version_id])
        return format_html('<a href="{}">{}</a>', url, run.model_version)


def _metric(run: TrainingRun, name: str) -> str:
    value = run.metrics.get(name, {}).get("value") if run.metrics else None
    return "-" if value is None else f"{value:.3f}"


def _run_of(identifier: str) -> TrainingRun | None:
    """Return the run with an id from the query string; None if it is not a UUID or there is no such run."""
    try:
        return TrainingRun.objects.filter(pk=uuid.UUID(identifier)).first()
    except ValueError:
        return None


def _with_grid_name(options: dict[str, Any]) -> dict[str, Any]:
    """Replace the grid of a run's options by its name."""
    if "grid" not in options:
        return options
    grid = PatchGrid.model_validate(options["grid"])
    return {**options, "grid": grid_name(grid) or f"{grid.size} / {grid.stride}"}


def _option_rows(options: dict[str, Any]) -> list[tuple[Any, Any, bool]]:
    """Return the label and value of each stored option, and whether the value differs from the default."""
    default = _with_grid_name(FitOptions().model_dump(mode="json"))
    return [
        (LABELS.get(name, name), ", ".join(value) if isinstance(value, list) else value, value != default.get(name))
        for name, value in _with_grid_name(options).items()
    ]
