"""Jobs of hours: a worker supervises a child process that does them in a folder of its own."""

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
"""Of a long line of a log, so that the file's end is read alone."""


class SupervisedJob(Job):
    """A job that a child process of the training worker does.

    A child that dies is followed by another one, which goes on from what lies in the folder. Only attempts that came no
    further than the ones before them count against the job: a run of hours may lose its worker as often as it likes.
    """

    FOLDER = ""
    """The folder of all jobs of this model, below the setting `TRAINING_DIR`."""
    LOG_FILE = ""
    """The name of the log that the child process writes to the job's folder."""

    LOST_MESSAGE = gettext_noop(
        "What worked on this died again and again without coming any further. The log has its last words. Where the "
        "machine's memory is short, a smaller network or batch size may help."
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
        """Those since it last came any further."""
        return self.attempts - self.advanced_at_attempt

    @property
    def folder(self) -> Path:
        """Where its child works: order, log, state of what is under way, outcome."""
        return Path(settings.TRAINING_DIR) / self.FOLDER / str(self.pk)

    @property
    def time_left(self) -> timedelta | None:
        """As the worker estimates it while it works."""
        if self.state != State.RUNNING or self.seconds_left is None:
            return None
        return timedelta(seconds=self.seconds_left)

    def log_end(self, lines: int = 40) -> str:
        """The last lines of its child's log."""
        try:
            with (self.folder / self.LOG_FILE).open("rb") as file:
                file.seek(0, 2)
                file.seek(max(0, file.tell() - _LINE_BYTES * lines))
                text = file.read().decode(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])
