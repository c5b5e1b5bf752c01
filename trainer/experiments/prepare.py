"""Before any training: options that can work, data that can be used, and the fitter for them."""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from classifier import networks
from classifier.bundle import MODEL_NAME
from trainer.data import datasets
from trainer.data.datasets import ImageDataset
from trainer.data.image_cache import PixelCache
from trainer.data.records import SUBTYPES, DataSetError, from_breakhis_name
from trainer.data.splits import Split, hold_out, make_splits, split_problems
from trainer.data.tasks import TASKS
from trainer.errors import OptionsError
from trainer.evaluation.out_of_fold import Fitter
from trainer.fitting import hardware
from trainer.fitting.fitters import FinetuneFitter, FrozenFitter, TrainingData
from trainer.fitting.hardware import Hardware
from trainer.options import ALL, FitOptions, contradictions

BREAKHIS_CITATION = (
    "Spanhol, Oliveira, Petitjean, Heutte: A Dataset for Breast Cancer Histopathological Image Classification. "
    "IEEE Transactions on Biomedical Engineering 63(7), 2016."
)
SYNTHETIC_CITATION = "Synthetic images made by trainer.synthetic: no patient is behind them."


def option_problems(options: FitOptions) -> list[str]:
    """What cannot work, whatever the data: sentences, none where all is well."""
    unknown = f"There is no network {options.network!r}. There are: {', '.join(networks.NETWORKS)}."
    return ([] if options.network in networks.NETWORKS else [unknown]) + contradictions(options)


def check(
    name: str,
    options: FitOptions,
    device: str,
    precision: hardware.Precision = "auto",
    *,
    problems: Sequence[str] = (),
) -> Hardware:
    """Before hours of work for a bundle: a name and options that will do, and a device that is there.

    Args:
        name: Of the model.
        options: Of the fit.
        device: `auto`, or a device in PyTorch's notation.
        precision: Of networks that are trained.
        problems: What is known to be wrong already.

    Raises:
        OptionsError: Listing everything that is wrong.
    """
    found = list(problems)
    if not re.fullmatch(MODEL_NAME, name):
        found.append(f"{name!r} is no name for a model: use small letters, digits, '.', '_' and '-'.")
    if options.task != "malignancy":
        found.append("A bundle tells benign from malignant; for the tumour types there is `study --task subtype`.")
    found += option_problems(options)
    machine = None
    try:
        machine = hardware.choose(device, precision)
    except ValueError as error:
        found.append(str(error))
    if found or machine is None:
        raise OptionsError(found)
    return machine


def read(
    source: str | Path,
    options: FitOptions,
    *,
    cache: Path,
    lists: Path | None = None,
    without: Sequence[str] = (),
    progress: bool = False,
) -> TrainingData:
    """Read and check the images that options ask for.

    Args:
        source: A manifest, a folder with a `manifest.csv`, or a BreakHis folder tree.
        options: Task, magnifications and protocol; and whether a training will hold patients out.
        cache: Folder for what was decoded.
        lists: Folder of the official fold lists.
        without: Subtypes to leave out.
        progress: Show progress bars.

    Raises:
        DataSetError: Listing everything that is wrong, the protocol's needs included.
    """
    unknown = [name for name in without if name not in SUBTYPES]
    if unknown:
        raise DataSetError([f"{name} is no subtype; there are {', '.join(SUBTYPES)}." for name in unknown])
    everywhere = options.magnification == ALL

    def own(data: ImageDataset) -> ImageDataset:
        return data.subset(lambda image: image.whole and image.magnification not in options.also)

    data = datasets.load(
        source,
        magnifications=() if everywhere else (options.magnification, *options.also),
        whole_only=not options.crops,
        task=TASKS[options.task],
        without=without,
        smallest=options.grid.size,
        require=lambda data: _problems(own(data), options, lists),
        cache=PixelCache(cache),
        progress=progress,
    )
    return TrainingData(own(data), data.subset(lambda image: not image.whole or image.magnification in options.also))


def _problems(main: ImageDataset, options: FitOptions, lists: Path | None) -> list[str]:
    present = {main.task.class_of(image) for image in main.images}
    missing = [name for name in main.task.classes if name not in present]
    if missing and main.task.binary:
        return [f"The data set has no {name} image at {options.magnification}." for name in missing]
    problems = split_problems(main, options.protocol, folds=options.folds, lists=lists)
    if problems or options.mode == "frozen":
        return problems
    for split in make_splits(
        main, options.protocol, folds=options.folds, repeats=options.repeats, seed=options.seed, lists=lists
    ):
        try:
            hold_out(main, split, seed=options.seed)
        except ValueError as error:
            problems.append(str(error))
    return problems


def make_fitter(
    data: TrainingData, options: FitOptions, hardware: Hardware, *, cache: Path, progress: bool = False
) -> Fitter:
    """The way to make a model that options ask for.

    Raises:
        WeightsUnavailableError: If ImageNet weights were asked for and cannot be had.
    """
    if options.mode == "frozen":
        return FrozenFitter(data, options, hardware, cache=cache, progress=progress)
    return FinetuneFitter(data, options, hardware, PixelCache(cache))


def identity(data: TrainingData, options: FitOptions, machine: Hardware, splits: Sequence[Split]) -> list[Any]:
    """All that the results of folds depend on, as plain data."""
    return [
        options.model_dump(mode="json"),
        data.everything.identity,
        [machine.device, machine.precision, machine.compiled],
        versions(),
        [(split.train.tolist(), split.test.tolist()) for split in splits],
    ]


def describe_data(data: TrainingData, citation: str = "") -> dict[str, Any]:
    """Fingerprint, citation, notes and counts.

    Args:
        data: The images.
        citation: Known for BreakHis and for synthetic images when "".
    """
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


def weights_in_words(options: FitOptions) -> str:
    """Where a network's first weights come from."""
    return networks.spec(options.network).weights_source if options.pretrained else "random start"


def versions() -> dict[str, str]:
    """Of Python and of the libraries that figures depend on."""
    packages = ("patchvote", "torch", "torchvision", "timm", "scikit-learn", "numpy", "scipy", "pillow")
    return {"python": platform.python_version(), **{package: version(package) for package in packages}}


def _count(data: ImageDataset) -> dict[str, Any]:
    return {
        "images": len(data),
        "patients": len(set(data.patients)),
        **{label: int((data.labels == index).sum()) for index, label in enumerate(data.task.classes)},
    }
