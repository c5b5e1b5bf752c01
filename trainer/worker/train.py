"""A training run: the study of one candidate, its report, and the model; every fold is computed once."""

from __future__ import annotations

import logging
from pathlib import Path

from classifier.bundle import Bundle
from trainer import report
from trainer.data import datasets
from trainer.data.image_cache import PixelCache
from trainer.data.records import DataSetError, Records, read_records
from trainer.evaluation.fold_runner import Clock
from trainer.experiments.estimate import seconds_by_stage
from trainer.experiments.fit import EPOCHS, CrossValidation, cross_validate, fit_final_model
from trainer.experiments.option_checks import check_fit
from trainer.experiments.prepare import prepare
from trainer.experiments.study import PlannedCandidate, write_results
from trainer.schemas import Epoch
from trainer.utils.progress import ProgressBar, Stage, notify_epoch_end
from trainer.worker.event_writer import EventWriter
from trainer.worker.failures import DataChangedError, FileGoneError
from trainer.worker.protocol import BUNDLE_FOLDER, TrainOrder, TrainResult

logger = logging.getLogger(__name__)


def train(order: TrainOrder, folder: Path, writer: EventWriter) -> TrainResult:
    """Cross-validate, write the report, and fit the model.

    Args:
        order: The order.
        folder: The child's folder; it stores finished folds and gets the report and the bundle.
        writer: The event writer, which gets the expected duration of each stage.

    Raises:
        OptionsError: Listing everything that is wrong with the options.
        DataSetError: Listing everything that prevents the use of the data set with these options.
        DataChangedError: If the data set has changed since it was checked.
        FileGoneError: If a file of the data set is missing.
        FloatingPointError: If a training diverges.
        WeightsUnavailableError: If the ImageNet weights are needed and not available.
    """
    clock = Clock(folder / "seconds")
    options = order.options
    hardware = check_fit(order.name, options, order.device)
    logger.info("%s on %s, %s", options.network, hardware.describe(), hardware.precision)
    records = _read_records(order)
    writer.expect(seconds_by_stage(len(records.images), options=options))
    if order.fingerprint:
        _check_unchanged(order)
    experiment = prepare(order.source, options, hardware, cache=order.cache)
    logger.info("%s", experiment.data.main.summary())
    writer.expect(seconds_by_stage(len(experiment.data.everything), options=options))
    candidate = PlannedCandidate(f"{options.network} {options.mode}", options)
    try:
        with cross_validate(experiment, store=folder / "folds", title=candidate.name) as cross_validation:
            clock.save()
            study = write_results(order.source, folder, experiment, {candidate: cross_validation.folds})
            for _ in ProgressBar([None], stage=Stage.REPORT, disable=True):
                report.write(folder, study.results, study.run, find_image=lambda image: order.source / image.file)
            bundle = _model(cross_validation, order, folder / BUNDLE_FOLDER)
            clock.save()
            cross_validation.discard_final_state()
    except DataSetError as error:  # it was valid when the order was checked
        raise DataChangedError(error.problems) from error
    return TrainResult(
        metrics=bundle.metadata.metrics, notes=tuple(study.results.notes), seconds=round(clock.seconds, 1)
    )


def _read_records(order: TrainOrder) -> Records:
    """Read the records of the data set, and check that no file is missing."""
    if not order.source.exists():
        raise FileGoneError([order.source])
    records = read_records(order.source)
    missing = [image.path for image in records.images if not image.path.is_file()]
    if missing:
        raise FileGoneError(missing)
    return records


def _check_unchanged(order: TrainOrder) -> None:
    try:
        everything = datasets.load(order.source, cache=PixelCache(order.cache))
    except DataSetError as error:
        raise DataChangedError(error.problems) from error
    if everything.fingerprint != order.fingerprint:
        raise DataChangedError([])


def _model(cross_validation: CrossValidation, order: TrainOrder, out: Path) -> Bundle:
    """Return the bundle, fitted now or by an earlier child; report its epochs in either case."""
    if not out.exists():
        return fit_final_model(cross_validation, out, name=order.name, citation=order.citation).bundle
    bundle = Bundle.load(out)
    folds = len(cross_validation.folds)
    for epoch in bundle.metadata.training.get(EPOCHS, []):
        notify_epoch_end(folds, folds, Epoch.model_validate(epoch))
    return bundle
