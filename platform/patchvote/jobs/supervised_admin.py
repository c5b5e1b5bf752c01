"""The admin of supervised jobs: pages that follow the progress of a job and can cancel it."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import path
from django.utils.cache import add_never_cache_headers
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from patchvote.core.admin_base import ReadOnlyAdmin
from patchvote.core.signals import act_performed
from patchvote.jobs import ledger
from patchvote.jobs.models import State, workers_alive
from patchvote.jobs.supervised import SupervisedJob

POLL_SECONDS = 2


class SupervisedJobAdmin(ReadOnlyAdmin):
    """An admin whose pages poll the changing part of a job until the job ends."""

    add_form_template = "admin/change_form.html"
    change_form_template = "admin/supervised_job.html"
    live_template = "admin/_live_job.html"
    detail_template = ""
    """The template of the details below, for a job that has succeeded."""

    def get_urls(self) -> list[Any]:
        """Add the URLs of the changing part and of cancelling."""
        return [
            path("<uuid:pk>/live/", self.admin_site.admin_view(self.live), name=self.url_name("live")),
            path(
                "<uuid:pk>/cancel/", self.admin_site.admin_view(require_POST(self.cancel)), name=self.url_name("cancel")
            ),
            *super().get_urls(),
        ]

    def url_name(self, view: str) -> str:
        """Return the name of a URL of this model, without the admin's namespace."""
        return f"{self.opts.app_label}_{self.opts.model_name}_{view}"

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may cancel jobs: users who may start one may also cancel it."""
        return bool(request.user.has_perm(f"{self.opts.app_label}.add_{self.opts.model_name}"))

    def visible(self, request: HttpRequest, pk: Any) -> Any:
        """Return the job if the user may view it.

        Raises:
            Http404: If the job does not exist.
            PermissionDenied: If the user may not view it.
        """
        job = get_object_or_404(self.get_queryset(request), pk=pk)
        if not self.has_view_permission(request, job):
            raise PermissionDenied
        return job

    def live_context(self, request: HttpRequest, job: Any) -> dict[str, Any]:
        """Return the context of the changing part."""
        return {
            "job": job,
            "poll_seconds": POLL_SECONDS,
            "live_url": f"admin:{self.url_name('live')}",
            "delayed": job.state == State.QUEUED and not workers_alive()["training"],
        }

    def live(self, request: HttpRequest, pk: Any) -> HttpResponse:
        """Render the changing part; once the job has ended, the response makes the browser reload the page."""
        job = self.visible(request, pk)
        response = render(request, self.live_template, self.live_context(request, job))
        add_never_cache_headers(response)
        if job.ended:
            response["HX-Refresh"] = "true"
        return response

    def cancel(self, request: HttpRequest, pk: Any) -> HttpResponse:
        """Cancel the job and redirect to its page."""
        job = self.visible(request, pk)
        if not self.has_cancel_permission(request):
            raise PermissionDenied
        if ledger.cancel(self.model, [job.pk]):
            act_performed.send(sender=self.model, instance=job, act="cancelled", actor=request.user)
            messages.success(request, _("Cancelled. The running process ends within seconds."))
        else:
            messages.warning(request, _("It had ended already."))
        return redirect(job.get_absolute_url())

    def change_view(self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None) -> Any:
        """Add the changing part and the details to the page of a job."""
        job = self.get_object(request, object_id)
        context = {**(extra_context or {}), "detail_template": self.detail_template}
        if isinstance(job, SupervisedJob):
            context |= self.live_context(request, job) | self.detail_context(request, job)
            context |= {
                "live_template": self.live_template,
                "cancel_url": f"admin:{self.url_name('cancel')}" if self.has_cancel_permission(request) else "",
            }
        return super().change_view(request, object_id, form_url, context)

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> Any:
        """Show only one button to save: a new job is followed, not edited."""
        plain = {"show_save_and_add_another": False, "show_save_and_continue": False}
        return super().add_view(request, form_url, plain | (extra_context or {}))

    def detail_context(self, request: HttpRequest, job: Any) -> dict[str, Any]:
        """Return the context of the details below the job."""
        return {}

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: str | None = None) -> HttpResponse:
        """Redirect to the page of the new job."""
        return redirect(obj.get_absolute_url())

    @admin.display(description=_("state"), ordering="state")
    def status(self, job: Any) -> str:
        """Return the state of a job, with the progress of a running one."""
        if job.state != State.RUNNING:
            return format_html('<span class="state {}">{}</span>', job.state, job.get_state_display())
        return format_html(
            '<span class="state running">{} · {} %</span>', job.get_state_display(), round(100 * job.progress)
        )
