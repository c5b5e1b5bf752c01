"""The images of an experiment: read, checked, and found sufficient for the protocol before any training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trainer.data import datasets
from trainer.data.datasets import ImageDataset
from trainer.data.image_cache import PixelCache
from trainer.data.records import SUBTYPES, DataSetError
from trainer.data.splits import hold_out, make_splits, split_problems
from trainer.data.tasks import TASKS
from trainer.fitting.fitters import TrainingData
from trainer.options import ALL, FitOptions


def read_training_data(
    source: str | Path,
    options: FitOptions,
    *,
    cache: Path,
    lists: Path | None = None,
    without: Sequence[str] = (),
    progress: bool = False,
) -> TrainingData:
    """Read and check the images that the options select.

    Args:
        source: A manifest, a folder with a `manifest.csv`, or a BreakHis folder tree.
        options: Task, magnifications and protocol; the mode decides whether patients are held out for validation.
        cache: Folder for decoded images.
        lists: Folder of the official fold lists, for the protocol `official`.
        without: Subtypes to leave out.
        progress: Show progress bars.

    Raises:
        DataSetError: If anything is wrong, the requirements of the protocol included; it lists all problems.
    """
    unknown = [name for name in without if name not in SUBTYPES]
    if unknown:
        raise DataSetError([f"{name} is not a subtype; the subtypes are {', '.join(SUBTYPES)}." for name in unknown])
    everywhere = options.magnification == ALL

    def select_main(data: ImageDataset) -> ImageDataset:
        return data.subset(lambda image: image.whole and image.magnification not in options.also)

    data = datasets.load(
        source,
        magnifications=() if everywhere else (options.magnification, *options.also),
        whole_only=not options.crops,
        task=TASKS[options.task],
        without=without,
        smallest=options.grid.size,
        require=lambda data: _protocol_problems(select_main(data), options, lists),
        cache=PixelCache(cache),
        progress=progress,
    )
    auxiliary = data.subset(lambda image: not image.whole or image.magnification in options.also)
    return TrainingData(select_main(data), auxiliary)


def _protocol_problems(main: ImageDataset, options: FitOptions, lists: Path | None) -> list[str]:
    """Return one sentence for each reason why the images do not suffice for the protocol and the mode."""
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
