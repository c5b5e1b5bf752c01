"""What training does when the ledger speaks."""

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
    """Tell the training workers of any job that is theirs, whichever app it belongs to."""
    if issubclass(sender, SupervisedJob):
        from patchvote.training.tasks import work_on_due

        wake(work_on_due)


@receiver(jobs_changed)
def jobs_ended(sender: Any, ids: list[Any], **_: Any) -> None:
    """Tidy up after jobs that ended, whoever ended them: their worker, the sweep, or a person."""
    if issubclass(sender, SupervisedJob):
        from patchvote.training.job_registry import tidy

        transaction.on_commit(partial(tidy, sender, ids), robust=True)
