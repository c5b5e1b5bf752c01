"""The registry of job handlers of the training worker."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from patchvote.jobs.models import OPEN_STATES
from patchvote.jobs.supervised import SupervisedJob
from patchvote.training.comparisons import ComparisonHandler
from patchvote.training.data_set_check import DataSetHandler
from patchvote.training.job_handlers import Handler
from patchvote.training.runs import RunHandler
from patchvote.training.uploads import BundleUploadHandler

RUNS: Sequence[Handler[Any]] = (RunHandler(),)
"""The handlers of jobs that take hours."""

SHORT: Sequence[Handler[Any]] = (DataSetHandler(), BundleUploadHandler(), ComparisonHandler())
"""The handlers of jobs that take seconds or minutes, the most urgent first."""


def clean_up(model: type[SupervisedJob], ids: Iterable[Any]) -> None:
    """Clean up after the jobs that have ended; skip jobs that a worker may still be doing."""
    handlers = [handler for handler in (*RUNS, *SHORT) if handler.model is model]
    for job in model._default_manager.filter(pk__in=list(ids)).exclude(state__in=OPEN_STATES):  # noqa: SLF001
        for handler in handlers:
            handler.clean_up(job)
