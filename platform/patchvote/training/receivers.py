"""Receivers of the ledger's signals."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.db import transaction
from django.dispatch import receiver

from patchvote.celery import wake
from patchvote.jobs.signals import jobs_changed, wake_up
from patchvote.jobs.supervised import SupervisedJob


@receiver(wake_up)
def jobs_due(sender: Any, **_: Any) -> None:
    """Wake the training workers for any supervised job, whichever app it belongs to."""
    if issubclass(sender, SupervisedJob):
        from patchvote.training.tasks import work_on_due

        wake(work_on_due)


@receiver(jobs_changed)
def jobs_ended(sender: Any, ids: list[Any], **_: Any) -> None:
    """Clean up after ended jobs, whether their worker, the sweep or a user ended them."""
    if issubclass(sender, SupervisedJob):
        from patchvote.training.job_registry import clean_up

        transaction.on_commit(partial(clean_up, sender, ids), robust=True)
