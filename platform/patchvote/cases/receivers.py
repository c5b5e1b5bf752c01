"""Receivers of the signals of the ledger, the workers and the cleaning."""

from __future__ import annotations

import os
from typing import Any

from django.apps import apps
from django.conf import settings
from django.db.models.signals import post_migrate
from django.dispatch import receiver

from patchvote.cases import search
from patchvote.cases.cleaning import Cleaner
from patchvote.cases.models import Analysis, Image
from patchvote.cases.summaries import summarise
from patchvote.celery import wake
from patchvote.core.signals import cleaning
from patchvote.jobs import stats
from patchvote.jobs.signals import jobs_changed, wake_up, worker_beating, worker_starting

_cleaner = Cleaner()


@receiver(jobs_changed, sender=Analysis)
def analyses_changed(ids: list[Any], **_: Any) -> None:
    """Update the summaries of the cases, in the same transaction."""
    summarise(Image.objects.filter(analyses__in=ids).values_list("case", flat=True))


@receiver(wake_up, sender=Analysis)
def analyses_due(**_: Any) -> None:
    """Wake the inference workers."""
    from patchvote.cases.tasks import analyse_due

    wake(analyse_due)


@receiver(worker_starting)
def inference_worker_starting(queue: str, **_: Any) -> None:
    """Prepare the process and load the champion before the first case arrives."""
    if queue == "inference":
        from patchvote.cases.inference import worker
        from trainer.fitting.cpu import keep_freed_memory

        keep_freed_memory()
        os.nice(settings.INFERENCE_NICENESS)
        for outcome in ("succeeded", "failed", "discarded"):
            stats.count("jobs_ended", 0, kind="analysis", outcome=outcome)
        worker.warm_up()


@receiver(worker_beating)
def inference_worker_beating(queue: str, **_: Any) -> None:
    """Load a newly promoted champion."""
    if queue == "inference":
        from patchvote.cases.inference import worker

        worker.preload_champion()


@receiver(post_migrate, sender=apps.get_app_config("cases"))
def cases_migrated(using: str, **_: Any) -> None:
    """Create the search index, which migrations cannot maintain."""
    search.create_index(using)


@receiver(cleaning)
def clean(**_: Any) -> None:
    """Remove orphaned files."""
    _cleaner.clean()
