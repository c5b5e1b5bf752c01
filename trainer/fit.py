"""From a data set to a bundle: measure by cross-validation, then fit on everything."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from classifier import bundle, networks
from classifier.bundle import Bundle, BundleMetadata
from trainer import hardware, prepare
from trainer.crossval import Fitter, OutOfFold
from trainer.folds import Epoch, FoldResult
from trainer.lock import alone_in
from trainer.metrics import Metrics
from trainer.options import ALL, FitOptions
from trainer.prepare import OptionsError
from trainer.records import MAGNIFICATIONS
from trainer.runner import FoldStore, run_folds
from trainer.splits import PROTOCOL_NOTES, make_splits

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")  # as BundleMetadata wants it, checked before hours of work


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
        precision: Of networks that are trained; see `trainer.hardware`.
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
    machine = _check(out, name, options, device, precision)
    data = prepare.read(source, options, cache=cache, lists=lists, progress=progress)
    splits = make_splits(
        data.main, options.protocol, folds=options.folds, repeats=options.repeats, seed=options.seed, lists=lists
    )
    fitter = prepare.make_fitter(data, options, machine, cache=cache, progress=progress)
    described = prepare.describe_data(data, citation)
    store = FoldStore.of(cache / "fits", options.network, prepare.identity(data, options, machine, splits))
    with alone_in(store.folder):
        folds = run_folds(
            fitter, splits, store, epochs=options.most_epochs, title="Cross-validation", progress=progress
        )
        results = [fold.result for fold in folds]
        module = _final(fitter, results, store, len(splits), progress=progress and options.most_epochs > 0)
    predictions = OutOfFold.of_folds(data.main, splits, results)
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
        data=described,
        training={
            "options": options.model_dump(mode="json"),
            "temperature": round(temperature, 4),
            "weights": prepare.weights_in_words(options),
            "versions": prepare.versions(),
            "device": machine.device,
            "precision": machine.precision if options.mode != "frozen" else "float32",
            "seconds": round(math.fsum(fold.seconds for fold in folds)),
        },
    )
    saved = bundle.save(out, module.state_dict(), metadata)
    store.forget(len(splits))
    return Fitted(saved, metrics, predictions)


def _final(fitter: Fitter, folds: Sequence[FoldResult], store: FoldStore, number: int, *, progress: bool) -> nn.Module:
    with tqdm(desc="All images", unit="epoch", disable=not progress) as bar:

        def watch(_: Epoch) -> None:
            bar.update()

        return fitter.final(folds, work=store.work(number), watch=watch)


def _check(out: Path, name: str, options: FitOptions, device: str, precision: hardware.Precision) -> hardware.Hardware:
    problems = []
    if out.exists():
        problems.append(f"{out} exists already; bundles never change. Choose another folder.")
    if not _NAME.fullmatch(name):
        problems.append(f"{name!r} is no name for a model: use small letters, digits, '.', '_' and '-'.")
    if options.task != "malignancy":
        problems.append("A bundle tells benign from malignant; for the tumour types there is `study --task subtype`.")
    problems += prepare.option_problems(options)
    machine = None
    try:
        machine = hardware.choose(device, precision)
    except ValueError as error:
        problems.append(str(error))
    if problems or machine is None:
        raise OptionsError(problems)
    return machine


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
