"""Workers in the admin: who is there."""

from __future__ import annotations

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from patchvote.core.admin_base import ReadOnlyAdmin
from patchvote.jobs.models import Worker


@admin.register(Worker)
class WorkerAdmin(ReadOnlyAdmin):
    """The worker processes and when they were last heard of."""

    list_display = ["name", "queue", "alive", "engine", "started_at", "seen_at"]
    list_filter = ["queue"]

    @admin.display(boolean=True, description=_("alive"))
    def alive(self, worker: Worker) -> bool:
        return worker.alive
