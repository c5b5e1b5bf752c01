"""Training runs: start and cancel them, store their metrics, and register their model versions."""

from __future__ import annotations

import logging
import shutil
from functools import partial
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from patchvote.jobs import ledger
from patchvote.jobs.models import State
from patchvote.jobs.signals import wake_up
from patchvote.registry.models import Origin
from patchvote.registry.services import NoChampionError, register
from patchvote.training import comparisons, data_sets
from patchvote.training.job_handlers import Handler, RefusedError
from patchvote.training.models import DataSet, RunEpoch, RunFold, TrainingRun
from trainer.experiments import estimate
from trainer.options import FitOptions
from trainer.schemas import Epoch
from trainer.worker.protocol import BUNDLE_FOLDER, EpochDone, Event, FoldDone, TrainOrder

logger = logging.getLogger(__name__)

FOLDS_FOLDER = "folds"
"""The subfolder of a run's folder with the checkpoints of its training."""

_LONGEST_NAME = 100
_RUNS_FOR_RATE = 5
_MAX_SECONDS = 2**31 - 1
"""The largest value of the database column."""

FILES_GONE = gettext_noop(
    "Images of the data set are gone. Bring them back, or make a new version of the data set without them."
)


class RunRefusedError(ValueError):
    """The refusal to start a run."""


class RunEndedError(ValueError):
    """The refusal to cancel a run that has ended."""


def start(run: TrainingRun, options: FitOptions) -> None:
    """Store a new run and queue it.

    Raises:
        RunRefusedError: If the data set cannot be used.
    """
    if run.data_set.state != State.SUCCEEDED:
        raise RunRefusedError(_("The data set %(data_set)s has not passed its check.") % {"data_set": run.data_set})
    run.options = options.model_dump(mode="json")
    run.estimated_seconds = estimated_seconds(run.data_set, options)
    with transaction.atomic():
        run.save(force_insert=True)
        transaction.on_commit(partial(wake_up.send, sender=TrainingRun), robust=True)


def cancel(run: TrainingRun) -> None:
    """Cancel a run; its worker ends the training within seconds.

    Raises:
        RunEndedError: If the run has ended.
    """
    if not ledger.cancel(TrainingRun, [run.pk]):
        raise RunEndedError(_("This run has ended already."))
    run.refresh_from_db()


def estimated_seconds(data_set: DataSet, options: FitOptions) -> int | None:
    """Estimate the duration of a run in seconds, from the newest runs of the same mode on this installation.

    Runs that found their features in the cache look much faster than the machine is; therefore the slowest run counts.
    """
    earlier = TrainingRun.objects.filter(state=State.SUCCEEDED, options__mode=options.mode, seconds__isnull=False)
    rates = [_rate(run) for run in earlier.select_related("data_set")[:_RUNS_FOR_RATE]]
    slowest = min((rate for rate in rates if rate), default=None)
    seconds = estimate.estimate_seconds(_image_count(data_set, options), options=options, rate=slowest)
    return min(round(seconds), _MAX_SECONDS)


def _rate(run: TrainingRun) -> float | None:
    """Return the rate of this machine, computed from a finished run."""
    options = FitOptions.model_validate(run.options)
    return estimate.rate_of(run.seconds or 0, _image_count(run.data_set, options), options=options)


def _image_count(data_set: DataSet, options: FitOptions) -> int:
    """Return how many images of a data set a run with these options uses."""
    images = data_set.images.all()
    if options.target_magnification and images.exclude(magnification="").exists():
        images = images.filter(magnification__in=[options.magnification, *options.also])
    if not options.crops:
        images = images.filter(whole=True)
    return images.count()


class RunHandler(Handler[TrainingRun]):
    """The handler of training runs."""

    model = TrainingRun

    def create_order(self, job: TrainingRun) -> TrainOrder:
        """Return the order: the data set and the options.

        Raises:
            RefusedError: If images of the data set are missing.
        """
        gone = data_sets.missing_files(job.data_set)
        if gone:
            raise RefusedError("file_gone", FILES_GONE, gone)
        return TrainOrder(
            source=job.data_set.root,
            fingerprint=job.data_set.fingerprint,
            name=job.name,
            options=FitOptions.model_validate(job.options),
            device=settings.TRAINING_DEVICE,
            cache=settings.CACHE_DIR,
        )

    def handle_event(self, job: TrainingRun, event: Event) -> None:
        """Store the metrics of an epoch or a fold."""
        if event.event != "progress" and job.fold_count != event.folds:
            ledger.report(job, fold_count=event.folds)
            job.fold_count = event.folds
        if event.event == "epoch":
            _store_epoch(job, event)
        elif event.event == "fold":
            _store_fold(job, event)

    def store_result(self, job: TrainingRun, result: dict[str, Any]) -> dict[str, Any]:
        """Register the bundle as the next version of its model, and start a comparison with the champion."""
        version = register(job.folder / result["bundle"], origin=Origin.RUN, by=job.created_by, tried=True)
        try:
            comparisons.start(version, by=job.created_by)
        except (comparisons.ComparisonRefusedError, NoChampionError) as refusal:
            logger.info("no comparison for %s: %s", version, refusal)
        return {
            "model_version": version,
            "metrics": result["metrics"],
            "notes": result["notes"],
            "seconds": result["seconds"],
        }

    def clean_up(self, job: TrainingRun) -> None:
        """Delete the checkpoints and the bundle, of which the registry has a copy; keep report, metrics and log."""
        for name in (FOLDS_FOLDER, BUNDLE_FOLDER):
            shutil.rmtree(job.folder / name, ignore_errors=True)


def _store_epoch(run: TrainingRun, event: EpochDone) -> None:
    RunEpoch.objects.update_or_create(
        run=run, fold=event.fold, number=event.epoch.number, defaults=_patch_metrics(event.epoch)
    )


def _store_fold(run: TrainingRun, event: FoldDone) -> None:
    RunFold.objects.update_or_create(
        run=run,
        number=event.fold,
        defaults={
            **_patch_metrics(event),
            "name": event.name[:_LONGEST_NAME],
            "test_accuracy": event.test.accuracy,
            "test_loss": event.test.loss,
            "best_epoch": event.best_epoch,
            "seconds": event.seconds,
        },
    )


def _patch_metrics(event: Epoch | FoldDone) -> dict[str, float | None]:
    return {
        "training_accuracy": event.training.accuracy,
        "training_loss": event.training.loss,
        "validation_accuracy": event.validation.accuracy if event.validation else None,
        "validation_loss": event.validation.loss if event.validation else None,
    }
