"""Jobs that take hours: the training worker supervises a child process that performs the job in its own folder."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.db import models
from django.db.models import F
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop

from patchvote.jobs.models import Job, State

_LINE_BYTES = 200
"""The assumed size of a log line, so that only the end of the file is read."""


class SupervisedJob(Job):
    """A job that a child process of the training worker performs.

    If a child process dies, the next one resumes from the state in the folder. Only consecutive attempts without
    progress count towards the maximum, so that a long job may lose its worker any number of times.
    """

    FOLDER = ""
    """The folder of all jobs of this model, below the setting `TRAINING_DIR`."""
    LOG_FILE = ""
    """The name of the log that the child process writes to the job's folder."""

    LOST_MESSAGE = gettext_noop(
        "The process that worked on this died repeatedly without any progress. See the end of the log. If the machine "
        "is short of memory, a smaller network or batch size may help."
    )

    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, editable=False, on_delete=models.PROTECT, related_name="+",
        verbose_name=_("by"),
    )  # fmt: skip
    stage = models.CharField(_("stage"), max_length=80, blank=True, editable=False)
    furthest = models.FloatField(default=0, editable=False)
    advanced_at_attempt = models.PositiveSmallIntegerField(default=0, editable=False)
    seconds_left = models.PositiveIntegerField(_("seconds left"), null=True, editable=False)
    error_details = models.JSONField(_("problems"), default=list, editable=False)

    class Meta:
        abstract = True

    @classmethod
    def exhausted(cls) -> models.Q:
        """Which jobs get no further attempt."""
        return models.Q(attempts__gte=F("advanced_at_attempt") + settings.TRAINING_MAX_ATTEMPTS)

    @property
    def lost_attempts(self) -> int:
        """The number of attempts since the last progress."""
        return self.attempts - self.advanced_at_attempt

    @property
    def folder(self) -> Path:
        """The folder of the child process: order, log, saved state and outcome."""
        return Path(settings.TRAINING_DIR) / self.FOLDER / str(self.pk)

    @property
    def time_left(self) -> timedelta | None:
        """The remaining time that the worker estimates; None unless the job is running."""
        if self.state != State.RUNNING or self.seconds_left is None:
            return None
        return timedelta(seconds=self.seconds_left)

    def log_end(self, lines: int = 40) -> str:
        """Return the last lines of the child process's log."""
        try:
            with (self.folder / self.LOG_FILE).open("rb") as file:
                file.seek(0, 2)
                file.seek(max(0, file.tell() - _LINE_BYTES * lines))
                text = file.read().decode(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])
