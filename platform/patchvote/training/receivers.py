"""What training does when the ledger speaks."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.db import transaction
from django.dispatch import receiver

from patchvote.celery import wake
from patchvote.jobs.models import State
from patchvote.jobs.signals import jobs_changed, wake_up
from patchvote.jobs.supervised import SupervisedJob


@receiver(wake_up)
def jobs_due(sender: Any, **_: Any) -> None:
    """Tell the training workers of any job that is theirs, whichever app it belongs to."""
    if issubclass(sender, SupervisedJob):
        from patchvote.training.tasks import work_on_due

        wake(work_on_due)


@receiver(jobs_changed)
def jobs_given_up(sender: Any, ids: list[Any], **_: Any) -> None:
    """Tidy up after jobs that no worker ends: cancelled before they began, or failed by the sweep."""
    if issubclass(sender, SupervisedJob):
        transaction.on_commit(partial(_tidy, sender, ids), robust=True)


def _tidy(model: type[SupervisedJob], ids: list[Any]) -> None:
    from patchvote.training.worker import HANDLERS

    for job in model._default_manager.filter(pk__in=ids, state__in=[State.FAILED, State.CANCELLED]):  # noqa: SLF001
        for handler in HANDLERS:
            if handler.model is model:
                handler.ended(job)
