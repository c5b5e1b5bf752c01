"""Make a bundle from a data set: measure the options by cross-validation, then fit the model on all images."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from classifier import bundle, networks
from classifier.bundle import Bundle, BundleMetadata, Seen
from trainer.data.records import MAGNIFICATIONS
from trainer.data.splits import PROTOCOL_NOTES
from trainer.evaluation.fold_runner import FinishedFold, FoldStore, run_folds, watching
from trainer.evaluation.metrics import Metrics
from trainer.evaluation.out_of_fold import Fitter, OutOfFoldPredictions
from trainer.experiments.option_checks import check_fit
from trainer.experiments.prepare import Experiment, prepare
from trainer.experiments.provenance import describe_data, describe_weights, versions
from trainer.fitting.hardware import Precision
from trainer.options import ALL, FitOptions
from trainer.schemas import Epoch, FoldResult
from trainer.utils.lock import locked
from trainer.utils.progress import Stage

EPOCHS = "epochs"
"""The key in the metadata's `training` for the epochs of the final fit, which are plain data; absent without epochs."""


@dataclass(frozen=True)
class FitResult:
    """The result of a fit.

    Attributes:
        bundle: The model, on disk.
        metrics: The metrics of the out-of-fold predictions.
        out_of_fold: The out-of-fold predictions.
    """

    bundle: Bundle
    metrics: Metrics
    out_of_fold: OutOfFoldPredictions


def fit(
    source: str | Path,
    out: str | Path,
    options: FitOptions,
    *,
    name: str = "",
    citation: str = "",
    device: str = "auto",
    precision: Precision = "auto",
    lists: Path | None = None,
    cache: Path,
    progress: bool = False,
) -> FitResult:
    """Measure the options by cross-validation, then fit a model on all images and save it as a bundle.

    The threshold and the temperature of the bundle are chosen on all out-of-fold predictions; the metrics use, for
    each fold, those chosen on the other folds. A fit that was interrupted resumes where it stopped.

    Args:
        source: A manifest, a folder with a `manifest.csv`, or a BreakHis folder tree.
        out: Folder of the bundle; must not exist yet.
        options: Options of the fit.
        name: Name of the model; "" means the folder's name.
        citation: Citation of the images; "" means the known one for BreakHis and for synthetic images.
        device: `auto`, or a device in PyTorch's notation.
        precision: Number format of the networks that are trained; see `trainer.fitting.hardware`.
        lists: Folder of the official fold lists, for the protocol `official`.
        cache: Folder for decoded images, computed features and the state of interrupted fits.
        progress: Show progress bars.

    Raises:
        OptionsError: If anything is wrong with the options; it lists all problems.
        DataSetError: If anything is wrong with the data set; it lists all problems.
        WeightsUnavailableError: If the ImageNet weights are needed and not available.
    """
    out = Path(out)
    name = name or out.name
    problems = [f"{out} exists already, and bundles never change. Choose another folder."] if out.exists() else []
    hardware = check_fit(name, options, device, precision, problems=problems)
    experiment = prepare(source, options, hardware, cache=cache, lists=lists, progress=progress)
    with cross_validate(experiment, store=cache / "fits", title="Cross-validation") as cross_validation:
        fitted = fit_final_model(cross_validation, out, name=name, citation=citation)
        cross_validation.discard_final_state()
    return fitted


@dataclass(frozen=True)
class CrossValidation:
    """A finished cross-validation of an experiment.

    Attributes:
        experiment: The options, images, splits and hardware.
        fitter: Fits the models.
        store: Keeps the results of the folds, and the state of the final fit.
        folds: The finished folds, in the order of the splits.
    """

    experiment: Experiment
    fitter: Fitter
    store: FoldStore
    folds: list[FinishedFold]

    @property
    def results(self) -> list[FoldResult]:
        """The results of the folds, in the order of the splits."""
        return [fold.result for fold in self.folds]

    def discard_final_state(self) -> None:
        """Delete the state of the final fit, which is not needed once its bundle is saved."""
        self.store.discard_state(len(self.folds))


@contextmanager
def cross_validate(experiment: Experiment, *, store: Path, title: str) -> Iterator[CrossValidation]:
    """Cross-validate an experiment; the fold store stays locked until the block ends.

    Args:
        experiment: The options, images, splits and hardware.
        store: Parent folder of the fold store.
        title: Title of the progress bar.

    Raises:
        FloatingPointError: If a training diverges.
        WeightsUnavailableError: If the ImageNet weights are needed and not available.
        ValueError: If another process uses the fold store.
    """
    options = experiment.options
    fitter = experiment.make_fitter()
    fold_store = FoldStore.for_candidate(store, options.network, experiment.identity)
    with locked(fold_store.folder):
        folds = run_folds(
            fitter, experiment.splits, fold_store, epochs=options.max_epochs, title=title, progress=experiment.progress
        )
        yield CrossValidation(experiment, fitter, fold_store, folds)


def fit_final_model(cross_validation: CrossValidation, out: Path, *, name: str, citation: str = "") -> FitResult:
    """Fit on all images and save the bundle; the state of the fit stays in the fold store.

    Args:
        cross_validation: Determines the number of epochs, the threshold, the temperature and the metrics.
        out: Folder of the bundle; must not exist yet.
        name: Name of the model.
        citation: Citation of the images; "" means the known one for BreakHis and for synthetic images.
    """
    experiment = cross_validation.experiment
    data, options, hardware = experiment.data, experiment.options, experiment.hardware
    module, epochs = _fit_on_all_images(cross_validation)
    predictions = OutOfFoldPredictions.of_folds(data.main, experiment.splits, cross_validation.results)
    metrics = predictions.metrics(options.threshold_rule)
    temperature = predictions.temperature()
    _scale_heads(module, options.network, temperature)
    metadata = BundleMetadata(
        name=name,
        network=options.network,
        grid=options.grid,
        normalisation=networks.spec(options.network).normalisation,
        threshold=predictions.threshold(options.threshold_rule),
        members=options.seeds,
        test_time_flips=options.test_time_flips,
        magnifications=MAGNIFICATIONS if options.magnification == ALL else (options.magnification,),
        synthetic=data.everything.synthetic,
        metrics=_describe_metrics(metrics, options, len(experiment.splits)),
        data=describe_data(data, citation),
        training={
            "options": options.model_dump(mode="json"),
            "temperature": round(temperature, 4),
            "weights": describe_weights(options),
            "versions": versions(),
            "device": hardware.device,
            "precision": hardware.precision if options.mode != "frozen" else "float32",
            "seconds": round(math.fsum(fold.seconds for fold in cross_validation.folds)),
            **({EPOCHS: [epoch.model_dump() for epoch in epochs]} if epochs else {}),
        },
        seen=Seen.of(data.everything.patients.tolist(), (image.sha256 for image in data.everything.images)),
    )
    return FitResult(bundle.save(out, module.state_dict(), metadata), metrics, predictions)


def _fit_on_all_images(cross_validation: CrossValidation) -> tuple[nn.Module, list[Epoch]]:
    """Return the network fitted on all images, and the epochs of its first member."""
    experiment, store = cross_validation.experiment, cross_validation.store
    number, most = len(experiment.splits), experiment.options.max_epochs
    epochs: list[Epoch] = []
    with watching(number, number, most, title="All images", shown=experiment.progress, stage=Stage.FINAL) as report:

        def watch(epoch: Epoch) -> None:
            report(epoch)
            epochs.append(epoch)

        module = cross_validation.fitter.final(cross_validation.results, work=store.state_folder(number), watch=watch)
    # Each further seed counts its epochs from 1 again.
    first_member = [epoch for at, epoch in enumerate(epochs, 1) if epoch.number == at]
    return module, first_member


def _scale_heads(module: nn.Module, network: str, temperature: float) -> None:
    """Divide the parameters of the heads by the temperature, so that the logits of each patch are calibrated too."""
    members = module.members if isinstance(module, networks.Ensemble) else [module]
    with torch.no_grad():
        for member in members:
            for parameter in networks.head(member, network).parameters():
                parameter.div_(temperature)


def _describe_metrics(metrics: Metrics, options: FitOptions, folds: int) -> dict[str, Any]:
    return {
        "protocol": options.protocol,
        "description": f"{PROTOCOL_NOTES[options.protocol]} ({folds} folds); threshold and temperature of each fold "
        "chosen on the other folds; 95 % intervals resample patients",
        **metrics.as_dict(),
    }
