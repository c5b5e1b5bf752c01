"""Training runs: starting, cancelling, what their children tell, and the model version that comes of them."""

from __future__ import annotations

import logging
import shutil
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from patchvote.jobs import ledger
from patchvote.jobs.models import State
from patchvote.jobs.signals import wake_up
from patchvote.registry import services as registry
from patchvote.registry.models import Origin
from patchvote.training import comparisons, data_sets
from patchvote.training.handlers import Handler, RefusedError
from patchvote.training.models import DataSet, RunEpoch, RunFold, TrainingRun
from trainer import estimate
from trainer.options import FitOptions
from trainer.work.orders import EpochDone, Event, FoldDone, TrainOrder

logger = logging.getLogger(__name__)


FILES_GONE = gettext_noop(
    "Images of the data set are gone. Bring them back, or make a new version of the data set without them."
)


class RunRefusedError(ValueError):
    """A run that cannot be started."""


class RunEndedError(ValueError):
    """A run that has ended cannot be cancelled."""


def start(run: TrainingRun, options: FitOptions) -> None:
    """Store a new run and queue it.

    Raises:
        RunRefusedError: If the data set cannot be used.
    """
    if run.data_set.state != State.SUCCEEDED:
        raise RunRefusedError(_("%(data_set)s has not passed its check.") % {"data_set": run.data_set})
    run.options = options.model_dump(mode="json")
    run.estimated_seconds = estimated_seconds(run.data_set, options)
    with transaction.atomic():
        run.save(force_insert=True)
        transaction.on_commit(_wake, robust=True)


def cancel(run: TrainingRun) -> None:
    """Cancel a run; its worker ends the training within seconds.

    Raises:
        RunEndedError: If it has ended.
    """
    if not ledger.cancel(TrainingRun, [run.pk]):
        raise RunEndedError(_("This run has ended already."))
    run.refresh_from_db()


def estimated_seconds(data_set: DataSet, options: FitOptions) -> int | None:
    """How long a run will take on this installation, learnt from the newest run of the same mode, if there is one."""
    earlier = (
        TrainingRun.objects.filter(state=State.SUCCEEDED, options__mode=options.mode, seconds__isnull=False)
        .select_related("data_set")
        .first()
    )
    rate = None
    if earlier is not None and earlier.seconds:
        done = FitOptions.model_validate(earlier.options)
        rate = estimate.rate_of(earlier.seconds, _chosen(earlier.data_set, done), options=done)
    return round(estimate.estimate_seconds(_chosen(data_set, options), options=options, rate=rate))


def _chosen(data_set: DataSet, options: FitOptions) -> int:
    """How many images of a data set a run with these options reads."""
    images = data_set.images.all()
    if options.look and images.exclude(magnification="").exists():
        images = images.filter(magnification__in=[options.magnification, *options.also])
    if not options.crops:
        images = images.filter(whole=True)
    return images.count()


class RunHandler(Handler[TrainingRun]):
    """Trains."""

    model = TrainingRun

    def order(self, job: TrainingRun) -> TrainOrder:
        """The data set as it was checked, and the options as they were chosen."""
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

    def happened(self, job: TrainingRun, event: Event) -> None:
        """Keep each epoch's and each fold's numbers."""
        if event.event != "progress" and job.fold_count != event.folds:
            job.fold_count = event.folds
            ledger.report(job, fold_count=event.folds)
        if event.event == "epoch":
            _store_epoch(job, event)
        elif event.event == "fold":
            _store_fold(job, event)

    def succeeded(self, job: TrainingRun, result: dict[str, Any]) -> dict[str, Any]:
        """Offer the bundle as the next version of its model."""
        version = registry.register(job.folder / result["bundle"], origin=Origin.RUN, by=job.created_by, tried=True)
        return {
            "model_version": version,
            "metrics": result["metrics"],
            "notes": result["notes"],
            "seconds": result["seconds"],
        }

    def ended(self, job: TrainingRun) -> None:
        """Compare the new version with the champion, so that the numbers are there when somebody looks."""
        job.refresh_from_db()
        if job.state == State.SUCCEEDED and job.model_version is not None:
            shutil.rmtree(job.folder / "bundle", ignore_errors=True)  # the registry has its own copy
            try:
                comparisons.start(job.model_version, by=job.created_by)
            except comparisons.ComparisonRefusedError as refusal:
                logger.info("no comparison for %s: %s", job.model_version, refusal)


def _store_epoch(run: TrainingRun, event: EpochDone) -> None:
    epoch = event.epoch
    RunEpoch.objects.update_or_create(
        run=run,
        fold=event.fold,
        number=epoch.number,
        defaults={
            "training_accuracy": epoch.training.accuracy,
            "training_loss": epoch.training.loss,
            "validation_accuracy": epoch.validation.accuracy if epoch.validation else None,
            "validation_loss": epoch.validation.loss if epoch.validation else None,
        },
    )


def _store_fold(run: TrainingRun, event: FoldDone) -> None:
    RunFold.objects.update_or_create(
        run=run,
        number=event.fold,
        defaults={
            "name": event.name,
            "training_accuracy": event.training.accuracy,
            "training_loss": event.training.loss,
            "validation_accuracy": event.validation.accuracy if event.validation else None,
            "validation_loss": event.validation.loss if event.validation else None,
            "test_accuracy": event.test.accuracy,
            "test_loss": event.test.loss,
            "best_epoch": event.best_epoch,
            "seconds": event.seconds,
        },
    )


def _wake() -> None:
    wake_up.send(sender=TrainingRun)
