"""What cases do when the ledger speaks."""

from __future__ import annotations

from typing import Any

from django.dispatch import receiver

from patchvote.cases import services
from patchvote.cases.models import Analysis, Image
from patchvote.celery import wake
from patchvote.jobs import stats
from patchvote.jobs.signals import jobs_changed, wake_up, worker_starting


@receiver(jobs_changed, sender=Analysis)
def analyses_changed(ids: list[Any], **_: Any) -> None:
    """Sum up their cases, in the same transaction."""
    services.summarise(Image.objects.filter(analyses__in=ids).values_list("case", flat=True))


@receiver(wake_up, sender=Analysis)
def analyses_due(**_: Any) -> None:
    """Tell the inference workers."""
    from patchvote.cases.tasks import analyse_due

    wake(analyse_due)


@receiver(worker_starting)
def inference_worker_starting(queue: str, **_: Any) -> None:
    """Load the champion before the first case comes."""
    if queue == "inference":
        from patchvote.cases import inference

        for outcome in ("succeeded", "failed", "discarded"):
            stats.count("jobs_ended", 0, kind="analysis", outcome=outcome)
        inference.warm_up()
