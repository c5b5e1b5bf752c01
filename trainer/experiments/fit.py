"""From a data set to a bundle: measure by cross-validation, then fit on everything."""

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
from trainer.data.splits import PROTOCOL_NOTES, Split, make_splits
from trainer.evaluation.fold_runner import FinishedFold, FoldStore, run_folds, watching
from trainer.evaluation.metrics import Metrics
from trainer.evaluation.out_of_fold import Fitter, OutOfFold
from trainer.experiments import prepare
from trainer.fitting import hardware
from trainer.fitting.fitters import TrainingData
from trainer.options import ALL, FitOptions
from trainer.schemas import Epoch, FoldResult
from trainer.utils.lock import alone_in
from trainer.utils.progress import Stage

EPOCHS = "epochs"
"""In the metadata's `training`: the epochs of the final fit, as plain data, where there were any."""


@dataclass(frozen=True)
class Fitted:
    """What a fit gives.

    Attributes:
        bundle: The model, on disk.
        metrics: Measured out of fold.
        out_of_fold: The predictions behind them.
    """

    bundle: Bundle
    metrics: Metrics
    out_of_fold: OutOfFold


def fit(
    source: str | Path,
    out: str | Path,
    options: FitOptions,
    *,
    name: str = "",
    citation: str = "",
    device: str = "auto",
    precision: hardware.Precision = "auto",
    lists: Path | None = None,
    cache: Path,
    progress: bool = False,
) -> Fitted:
    """Measure a way to make a model by cross-validation, then make it of all images and save it.

    Threshold and temperature of the saved model are chosen on all out-of-fold predictions; the metrics use, for each
    fold, those chosen on the other folds. A fit that was broken off goes on where it was.

    Args:
        source: A manifest, a folder with a `manifest.csv`, or a BreakHis folder tree.
        out: The bundle's folder; must not exist yet.
        options: See `FitOptions`.
        name: Of the model; the folder's name when "".
        citation: Of the data; known for BreakHis and for synthetic images when "".
        device: `auto`, or a device in PyTorch's notation.
        precision: Of networks that are trained; see `trainer.fitting.hardware`.
        lists: Folder of the official fold lists, for that protocol.
        cache: Folder for computed features and for the state of fits under way.
        progress: Show progress bars.

    Raises:
        OptionsError: Listing everything that is wrong with the options.
        DataSetError: Listing everything that is wrong with the data set.
        WeightsUnavailableError: If ImageNet weights were asked for and cannot be had.
    """
    out = Path(out)
    name = name or out.name
    in_the_way = [f"{out} exists already; bundles never change. Choose another folder."] if out.exists() else []
    machine = prepare.check(name, options, device, precision, problems=in_the_way)
    data = prepare.read(source, options, cache=cache, lists=lists, progress=progress)
    with measured(
        data, options, machine, store=cache / "fits", title="Cross-validation", lists=lists, cache=cache,
        progress=progress,
    ) as measurement:  # fmt: skip
        fitted = make(measurement, out, name=name, citation=citation, progress=progress)
        measurement.store.forget(len(measurement.splits))
    return fitted


@dataclass(frozen=True)
class Measurement:
    """A way to make a model, and what cross-validation said of it.

    Attributes:
        data: The images.
        options: How a model is made of them.
        machine: On what.
        splits: Of the main images.
        fitter: Makes the models.
        store: Keeps what they gave.
        folds: In the order of the splits.
    """

    data: TrainingData
    options: FitOptions
    machine: hardware.Hardware
    splits: list[Split]
    fitter: Fitter
    store: FoldStore
    folds: list[FinishedFold]

    @property
    def results(self) -> list[FoldResult]:
        """Of the folds."""
        return [fold.result for fold in self.folds]


@contextmanager
def measured(
    data: TrainingData,
    options: FitOptions,
    machine: hardware.Hardware,
    *,
    store: Path,
    title: str,
    lists: Path | None = None,
    cache: Path,
    progress: bool = False,
) -> Iterator[Measurement]:
    """Cross-validate, and keep other processes out of the store for as long as the measurement is used.

    Args:
        data: The images.
        options: How a model is made of them.
        machine: On what.
        store: Folder below which the folds are kept.
        title: Of the progress bar.
        lists: Folder of the official fold lists, for that protocol.
        cache: Folder for computed features.
        progress: Show progress bars.

    Raises:
        FloatingPointError: If a training diverges.
        WeightsUnavailableError: If ImageNet weights were asked for and cannot be had.
        ValueError: If another process is at work in the store.
    """
    splits = make_splits(
        data.main, options.protocol, folds=options.folds, repeats=options.repeats, seed=options.seed, lists=lists
    )
    fitter = prepare.make_fitter(data, options, machine, cache=cache, progress=progress)
    kept = FoldStore.of(store, options.network, prepare.identity(data, options, machine, splits))
    with alone_in(kept.folder):
        folds = run_folds(fitter, splits, kept, epochs=options.most_epochs, title=title, progress=progress)
        yield Measurement(data, options, machine, splits, fitter, kept, folds)


def make(measurement: Measurement, out: Path, *, name: str, citation: str = "", progress: bool = False) -> Fitted:
    """Fit on all images and save the bundle; the state of the fit stays in the store.

    Args:
        measurement: Says how long to train, and gives threshold, temperature and metrics.
        out: The bundle's folder; must not exist yet.
        name: Of the model.
        citation: Of the data; known for BreakHis and for synthetic images when "".
        progress: Show a progress bar.
    """
    data, options, machine = measurement.data, measurement.options, measurement.machine
    splits, folds = measurement.splits, measurement.folds
    module, history = _final(measurement, progress=progress)
    predictions = OutOfFold.of_folds(data.main, splits, measurement.results)
    metrics = predictions.metrics(options.threshold_rule)
    temperature = predictions.temperature()
    _sharpen(module, options.network, temperature)
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
        metrics=_describe_metrics(metrics, options, len(splits)),
        data=prepare.describe_data(data, citation),
        training={
            "options": options.model_dump(mode="json"),
            "temperature": round(temperature, 4),
            "weights": prepare.weights_in_words(options),
            "versions": prepare.versions(),
            "device": machine.device,
            "precision": machine.precision if options.mode != "frozen" else "float32",
            "seconds": round(math.fsum(fold.seconds for fold in folds)),
            **({EPOCHS: [epoch.model_dump() for epoch in history]} if history else {}),
        },
        seen=Seen.of(data.everything.patients.tolist(), (image.sha256 for image in data.everything.images)),
    )
    return Fitted(bundle.save(out, module.state_dict(), metadata), metrics, predictions)


def _final(measurement: Measurement, *, progress: bool) -> tuple[nn.Module, list[Epoch]]:
    """The network fitted on all images, and its first member's epochs."""
    number, epochs = len(measurement.splits), measurement.options.most_epochs
    history: list[Epoch] = []
    with watching(number, number, epochs, title="All images", shown=progress, stage=Stage.FINAL) as tell:

        def watch(epoch: Epoch) -> None:
            tell(epoch)
            history.append(epoch)

        module = measurement.fitter.final(measurement.results, work=measurement.store.work(number), watch=watch)
    first = [epoch for at, epoch in enumerate(history, 1) if epoch.number == at]  # further seeds begin at 1 again
    return module, first


def _sharpen(module: nn.Module, network: str, temperature: float) -> None:
    """Divide the logits by the temperature where they arise, so that single patches are calibrated as well."""
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
