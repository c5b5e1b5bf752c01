"""The kinds of jobs that a training worker does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from patchvote.jobs.models import OPEN_STATES
from patchvote.jobs.supervised import SupervisedJob
from patchvote.training.comparisons import ComparisonHandler
from patchvote.training.data_sets import DataSetHandler
from patchvote.training.job_handlers import Handler
from patchvote.training.runs import RunHandler
from patchvote.training.uploads import BundleUploadHandler

RUNS: Sequence[Handler[Any]] = (RunHandler(),)
"""Of hours."""

SHORT: Sequence[Handler[Any]] = (DataSetHandler(), BundleUploadHandler(), ComparisonHandler())
"""Of seconds or minutes, the most urgent first."""


def tidy(model: type[SupervisedJob], ids: Iterable[Any]) -> None:
    """Tidy up after those of the jobs that have ended for good; what somebody may still work on is left alone."""
    handlers = [handler for handler in (*RUNS, *SHORT) if handler.model is model]
    for job in model._default_manager.filter(pk__in=list(ids)).exclude(state__in=OPEN_STATES):  # noqa: SLF001
        for handler in handlers:
            handler.ended(job)
