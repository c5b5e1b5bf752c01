"""The base model of jobs, and the model of workers.

The states of a job and their transitions; only `patchvote.jobs.ledger` performs them:

    queued -> running                       a worker claims it
    running -> succeeded | failed           the worker that holds the lease finishes it
    running -> queued                       its lease expired (the job is due again at once, from the second time on
                                            after a delay), or its worker must stop and gave it back
    running -> failed                       its lease expired after the last attempt
    queued | running -> cancelled           a user cancels it
"""

from __future__ import annotations

import random
import uuid
from collections import Counter
from datetime import timedelta
from typing import Any

from django.apps import apps
from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop


class State(models.TextChoices):
    """The state of a job."""

    QUEUED = "queued", _("queued")
    RUNNING = "running", _("running")
    SUCCEEDED = "succeeded", _("succeeded")
    FAILED = "failed", _("failed")
    CANCELLED = "cancelled", _("cancelled")


OPEN_STATES = (State.QUEUED, State.RUNNING)


class Job(models.Model):
    """A unit of work for a worker, with effect exactly once.

    Each claim increases `attempts`, which distinguishes one holder of the lease from the next: a worker that was taken
    for dead and returns has an older number, and its result is discarded.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    state = models.CharField(_("state"), max_length=10, choices=State, default=State.QUEUED, editable=False)
    attempts = models.PositiveSmallIntegerField(_("attempts"), default=0, editable=False)
    lease_expires_at = models.DateTimeField(_("lease expires at"), null=True, editable=False)
    worker = models.CharField(_("worker"), max_length=120, blank=True, editable=False)
    progress = models.FloatField(_("progress"), default=0, editable=False)
    queued_at = models.DateTimeField(_("queued at"), default=timezone.now, editable=False)
    due_at = models.DateTimeField(_("due at"), null=True, editable=False)
    """The time before which no worker claims the job; None for at once."""
    started_at = models.DateTimeField(_("started at"), null=True, editable=False)
    finished_at = models.DateTimeField(_("finished at"), null=True, editable=False)
    error_code = models.CharField(_("error code"), max_length=40, blank=True, editable=False)
    error = models.TextField(_("error"), blank=True, editable=False)

    LOST_MESSAGE = gettext_noop("The worker died each time it worked on this. Tell an administrator.")
    """The message for users if the last attempt was lost as well; models may override it."""

    RELATED: tuple[str, ...] = ()
    """Foreign keys that workers and log lines need: the ledger selects them together with the job."""

    class Meta:
        abstract = True

    @classmethod
    def exhausted(cls) -> models.Q:
        """Return the condition under which a job gets no further attempt."""
        return models.Q(attempts__gte=settings.JOB_MAX_ATTEMPTS)

    @property
    def lost_attempts(self) -> int:
        """The number of consecutive lost attempts of a job whose lease has expired."""
        return self.attempts

    def retry_delay(self) -> timedelta:
        """Return how long a lost job waits: the first time not at all, then twice as long each time, with jitter.

        Jitter prevents jobs that were lost together from being retried together.
        """
        if self.lost_attempts <= 1:
            return timedelta(0)
        doubled: timedelta = settings.JOB_RETRY * 2 ** min(self.lost_attempts - 2, 20)
        longest: timedelta = min(doubled, settings.JOB_RETRY_LONGEST)
        return longest * random.uniform(0.5, 1)  # noqa: S311 (no secret)

    @property
    def ended(self) -> bool:
        """Whether the job is in a final state."""
        return self.state not in OPEN_STATES

    @classmethod
    def kind(cls) -> str:
        """Return the name of this kind of job in metrics and in the log."""
        return str(cls._meta.model_name)

    @property
    def log_fields(self) -> dict[str, str]:
        """The fields of log lines about this job, for `extra=`."""
        return {self.kind(): str(self.pk)}

    @staticmethod
    def indexes(name: str) -> list[models.Index]:
        """Return the partial indexes for claiming and sweeping; they contain only open jobs, so they stay small.

        Args:
            name: The prefix of the indexes' names, unique to the model.
        """
        return [
            models.Index("queued_at", name=f"{name}_queued", condition=models.Q(state=State.QUEUED)),
            models.Index("lease_expires_at", name=f"{name}_leases", condition=models.Q(state=State.RUNNING)),
        ]


def job_models() -> list[type[Job]]:
    """Return the models of all kinds of jobs."""
    return [model for model in apps.get_models() if issubclass(model, Job)]


class WorkerQuerySet(models.QuerySet["Worker"]):
    """A query set of workers."""

    def alive(self) -> WorkerQuerySet:
        """Return the workers that were seen within three heartbeats, by the database's clock.

        A worker that was seen in the future is dead: it died before the clock was set back.
        """
        return self.filter(seen_at__range=(Now() - Worker.SILENCE, Now() + Worker.SILENCE))

    def forget_dead(self) -> None:
        """Delete the rows of workers that have been silent for a day or were seen in the future."""
        self.filter(Q(seen_at__lt=Now() - timedelta(days=1)) | Q(seen_at__gt=Now() + Worker.SILENCE)).delete()


class Worker(models.Model):
    """A worker process; each heartbeat renews its row."""

    HEARTBEAT = timedelta(seconds=5)
    SILENCE = 3 * HEARTBEAT
    """The time without heartbeat after which a worker counts as dead."""
    SWEEP = "sweep"
    """The value of `queue` in the rows of sweeps, which have no queue."""

    name = models.CharField(_("name"), max_length=120, primary_key=True)
    queue = models.CharField(_("queue"), max_length=40)
    engine = models.CharField(_("engine"), max_length=60, blank=True, help_text=_("Device and number format."))
    started_at = models.DateTimeField(_("started at"), db_default=Now())
    seen_at = models.DateTimeField(_("seen at"), db_default=Now())
    stats = models.JSONField(default=list, editable=False)
    """The measurements, as `patchvote.jobs.stats.snapshot` returns them."""

    objects = WorkerQuerySet.as_manager()

    class Meta:
        ordering = ["-seen_at"]
        verbose_name = _("worker")
        verbose_name_plural = _("workers")

    def __str__(self) -> str:
        return self.name

    @property
    def alive(self) -> bool:
        """Whether the worker was seen within three heartbeats, by this process's clock."""
        return abs(self.seen_at - timezone.now()) <= self.SILENCE


def workers_alive() -> dict[str, int]:
    """Return the number of living workers for each queue."""
    queues: Any = settings.CELERY_TASK_QUEUES
    counts = Counter(Worker.objects.alive().filter(queue__in=queues).values_list("queue", flat=True))
    return {queue: counts[queue] for queue in queues}
