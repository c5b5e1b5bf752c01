"""The admin of workers."""

from __future__ import annotations

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from patchvote.core.admin_base import ReadOnlyAdmin
from patchvote.jobs.models import Worker


@admin.register(Worker)
class WorkerAdmin(ReadOnlyAdmin):
    """The list of worker processes with the time of their last heartbeat."""

    list_display = ["name", "queue", "alive", "engine", "started_at", "seen_at"]
    list_filter = ["queue"]

    @admin.display(boolean=True, description=_("alive"))
    def alive(self, worker: Worker) -> bool:
        return worker.alive
