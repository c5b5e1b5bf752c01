"""From a data set to a bundle: measure by cross-validation, then fit on everything."""

from __future__ import annotations

import platform
import re
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from classifier import bundle, networks
from classifier.bundle import Bundle, BundleMetadata
from trainer import datasets
from trainer.crossval import OutOfFold, cross_validate
from trainer.datasets import DataSet
from trainer.fitters import FinetuneFitter, FrozenFitter, TrainingData
from trainer.metrics import Metrics
from trainer.options import FitOptions
from trainer.records import CLASSES, MAGNIFICATIONS, DataSetError, from_breakhis_name
from trainer.splits import PROTOCOL_NOTES, make_splits

BREAKHIS_CITATION = (
    "Spanhol, Oliveira, Petitjean, Heutte: A Dataset for Breast Cancer Histopathological Image Classification. "
    "IEEE Transactions on Biomedical Engineering 63(7), 2016."
)
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")  # as BundleMetadata wants it, checked before hours of work
SYNTHETIC_CITATION = "Synthetic images made by trainer.synthetic: no patient is behind them."


class OptionsError(ValueError):
    """Options that cannot be used.

    Attributes:
        problems: Everything that is wrong, one sentence each.
    """

    def __init__(self, problems: list[str]) -> None:
        """Keep all problems; the message holds one a line."""
        super().__init__("\n".join(problems))
        self.problems = problems


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
    cache: Path,
    progress: bool = False,
) -> Fitted:
    """Measure a way to make a model by cross-validation, then make it of all images and save it.

    Threshold and temperature of the saved model are chosen on all out-of-fold predictions; the metrics use, for each
    fold, those chosen on the other folds.

    Args:
        source: A manifest, a folder with a `manifest.csv`, or a BreakHis folder tree.
        out: The bundle's folder; must not exist yet.
        options: See `FitOptions`.
        name: Of the model; the folder's name when "".
        citation: Of the data; known for BreakHis and for synthetic images when "".
        device: `auto`, or a device in PyTorch's notation.
        cache: Folder for computed features.
        progress: Show progress bars.

    Raises:
        OptionsError: Listing everything that is wrong with the options.
        DataSetError: Listing everything that is wrong with the data set.
        ValueError: If there are too few patients for the protocol.
        WeightsUnavailableError: If ImageNet weights were asked for and cannot be had.
    """
    out = Path(out)
    name = name or out.name
    _check(out, name, options, device)
    started = time.monotonic()
    data = _read(source, options, progress=progress)
    splits = make_splits(data.main, options.protocol, folds=options.folds, repeats=options.repeats, seed=options.seed)
    where = _device(device)
    fitter: FrozenFitter | FinetuneFitter
    if options.mode == "frozen":
        fitter = FrozenFitter(data, options, device=where, cache=cache, progress=progress)
    else:
        fitter = FinetuneFitter(data, options, device=where, progress=progress)
    predictions = cross_validate(fitter, data.main, splits, progress=progress)
    metrics = predictions.metrics(options.threshold_rule)
    module = fitter.final()
    temperature = predictions.temperature()
    _sharpen(networks.head(module, options.network), temperature)
    metadata = BundleMetadata(
        name=name,
        network=options.network,
        grid=options.grid,
        normalisation=networks.spec(options.network).normalisation,
        threshold=predictions.threshold(options.threshold_rule),
        magnifications=(options.magnification,),
        synthetic=data.everything.synthetic,
        metrics=_describe_metrics(metrics, options, len(splits)),
        data=_describe_data(data, citation),
        training={
            "options": options.model_dump(mode="json"),
            "temperature": round(temperature, 4),
            "weights": networks.spec(options.network).weights_source if options.pretrained else "random start",
            "versions": _versions(),
            "device": where,
            "seconds": round(time.monotonic() - started),
        },
    )
    return Fitted(bundle.save(out, module.state_dict(), metadata), metrics, predictions)


def _check(out: Path, name: str, options: FitOptions, device: str) -> None:
    problems = []
    if out.exists():
        problems.append(f"{out} exists already; bundles never change. Choose another folder.")
    if not _NAME.fullmatch(name):
        problems.append(f"{name!r} is no name for a model: use small letters, digits, '.', '_' and '-'.")
    if options.network not in networks.NETWORKS:
        problems.append(f"There is no network {options.network!r}. There are: {', '.join(networks.NETWORKS)}.")
    if options.mode == "frozen" and not options.pretrained:
        problems.append("Frozen features of a random start say nothing: use finetune, or ImageNet weights.")
    if options.mode == "frozen" and options.network == "squeezenet":
        problems.append("SqueezeNet's logits pass a ReLU, so no linear head can replace its last layer: use finetune.")
    if options.also and options.protocol == "thesis":
        problems.append("Folds by image leave no patient whose other magnifications could be added.")
    if options.magnification in options.also:
        problems.append(f"{options.magnification} is the model's own magnification, not another one.")
    problems += [
        f"{wanted} is not a magnification; there are {', '.join(MAGNIFICATIONS)}."
        for wanted in (options.magnification, *options.also)
        if wanted not in MAGNIFICATIONS
    ]
    if device.startswith("cuda") and not torch.cuda.is_available():
        problems.append(f"The device {device} is not there: PyTorch finds no GPU. Use cpu.")
    if problems:
        raise OptionsError(problems)


def _read(source: str | Path, options: FitOptions, *, progress: bool) -> TrainingData:
    wanted = (options.magnification, *options.also)
    data = datasets.load(source, magnifications=wanted, whole_only=True, progress=progress)
    auxiliary = data.subset(lambda image: image.magnification in options.also)
    main = data.subset(lambda image: image.magnification not in options.also)
    missing = [label for label in CLASSES if label not in {image.label for image in main.images}]
    if missing:
        raise DataSetError([f"The data set has no {label} image at {options.magnification}." for label in missing])
    return TrainingData(main, auxiliary)


def _device(device: str) -> str:
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device


def _sharpen(layer: nn.Module, temperature: float) -> None:
    """Divide the logits by the temperature where they arise, so that single patches are calibrated as well."""
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.div_(temperature)


def _describe_metrics(metrics: Metrics, options: FitOptions, folds: int) -> dict[str, Any]:
    return {
        "protocol": options.protocol,
        "description": f"{PROTOCOL_NOTES[options.protocol]} ({folds} folds); threshold and temperature of each fold "
        "chosen on the other folds; 95 % intervals resample patients",
        **metrics.as_dict(),
    }


def _describe_data(data: TrainingData, citation: str) -> dict[str, Any]:
    everything = data.everything
    if not citation and everything.synthetic:
        citation = SYNTHETIC_CITATION
    elif not citation and all(from_breakhis_name(image.path) for image in everything.images):
        citation = BREAKHIS_CITATION
    return {
        "fingerprint": everything.fingerprint,
        "citation": citation or "unknown",
        "notes": list(data.main.notes),
        **_count(data.main),
        "auxiliary": _count(data.auxiliary),
    }


def _count(data: DataSet) -> dict[str, Any]:
    return {
        "images": len(data),
        "patients": len(set(data.patients)),
        **{label: int((data.labels == index).sum()) for index, label in enumerate(CLASSES)},
    }


def _versions() -> dict[str, str]:
    packages = ("patchvote", "torch", "torchvision", "timm", "scikit-learn", "numpy", "scipy", "pillow")
    return {"python": platform.python_version(), **{package: version(package) for package in packages}}
