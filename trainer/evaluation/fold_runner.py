"""Run the folds of a candidate; results and training states are stored, so that an interrupted run resumes."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from trainer.data.splits import Split
from trainer.evaluation.out_of_fold import Fitter, Watcher
from trainer.schemas import Epoch, FoldResult, FrozenModel
from trainer.utils.files import write_atomically
from trainer.utils.progress import ProgressBar, Stage, notify_epoch_end, notify_fold_end


class FinishedFold(FrozenModel):
    """The result of a fold, and the time that all its attempts took, in seconds."""

    result: FoldResult
    seconds: float


@dataclass(frozen=True)
class FoldStore:
    """A folder with the results of one candidate's folds.

    Attributes:
        folder: The folder; its name contains a hash of everything that the results depend on, so that it never
            contains results of anything else.
    """

    folder: Path

    @classmethod
    def for_candidate(cls, parent: Path, name: str, *identity: Any) -> FoldStore:
        """Return the store of a candidate.

        Args:
            parent: Folder of all stores.
            name: Name of the candidate.
            identity: Everything that the results depend on, as plain data.
        """
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()[:12]
        slug = "".join(letter if letter.isalnum() else "-" for letter in name)
        return cls(parent / f"{slug}-{digest}")

    def read(self, number: int) -> FinishedFold | None:
        """Return the stored result of a fold, counted from 0, or None."""
        try:
            return FinishedFold.model_validate_json(self._result(number).read_bytes())
        except (OSError, ValidationError):
            return None

    def save(self, number: int, fold: FinishedFold) -> None:
        """Store the result of a fold and delete the state of its training."""
        write_atomically(self._result(number), lambda file: file.write(fold.model_dump_json().encode()))
        self.discard_state(number)

    def discard_state(self, number: int) -> None:
        """Delete the state of a fold's training."""
        shutil.rmtree(self.state_folder(number), ignore_errors=True)

    def state_folder(self, number: int) -> Path:
        """Return the folder for the state of a fold's training while it runs."""
        return self.folder / f"fold{number:03}"

    def _result(self, number: int) -> Path:
        return self.folder / f"fold{number:03}.json"


class Clock:
    """A stopwatch that runs over all attempts; time after the last save of a killed process is not counted."""

    def __init__(self, path: Path) -> None:
        """Continue from the seconds in a file, if it exists."""
        self._path, self._started = path, time.monotonic()
        self._before = float(path.read_text()) if path.is_file() else 0.0

    @property
    def seconds(self) -> float:
        """The time of all attempts so far, in seconds."""
        return self._before + time.monotonic() - self._started

    def save(self) -> None:
        """Write the seconds to the file for the next attempt."""
        write_atomically(self._path, lambda file: file.write(str(self.seconds).encode()))


def run_folds(
    fitter: Fitter,
    splits: Sequence[Split],
    store: FoldStore,
    *,
    diverged: Callable[[Split], FoldResult] | None = None,
    epochs: int = 0,
    title: str = "",
    progress: bool = False,
) -> list[FinishedFold]:
    """Return the results of all splits: stored ones are read, the others are computed and stored.

    Args:
        fitter: Fits the models.
        splits: The splits; the results have the same order.
        store: Stores the results.
        diverged: Returns the result of a fold whose training diverged; if None, the FloatingPointError is raised.
        epochs: The maximum number of epochs per fold, summed over all seeds; 0 for frozen features.
        title: Title of the progress bar.
        progress: Show progress bars.

    Raises:
        FloatingPointError: If a training diverges and `diverged` is None.
    """
    finished = []
    with ProgressBar(
        stage=Stage.FOLDS, total=len(splits), desc=title or "Folds", unit="fold", disable=not progress
    ) as bar:
        for number, split in enumerate(splits):
            fold = store.read(number)
            if fold is None:
                shown = watching(number, len(splits), epochs, title=split.name, shown=progress)
                try:
                    fold = _run_fold(fitter, split, store, number, shown)
                except FloatingPointError:
                    if diverged is None:
                        raise
                    fold = FinishedFold(result=diverged(split), seconds=0)
                store.save(number, fold)
            else:
                for epoch in fold.result.epochs:
                    notify_epoch_end(number, len(splits), epoch)
            notify_fold_end(number, len(splits), fold.result, fold.seconds)
            finished.append(fold)
            bar.update()
    return finished


def _run_fold(
    fitter: Fitter, split: Split, store: FoldStore, number: int, shown: AbstractContextManager[Watcher]
) -> FinishedFold:
    clock = Clock(store.state_folder(number) / "seconds")
    with shown as report:

        def watch(epoch: Epoch) -> None:
            clock.save()
            report(epoch)

        result = fitter.out_of_fold(split, work=store.state_folder(number), watch=watch)
    return FinishedFold(result=result, seconds=clock.seconds)


@contextmanager
def watching(
    number: int, folds: int, epochs: int, *, title: str, shown: bool, stage: Stage = Stage.EPOCHS
) -> Iterator[Watcher]:
    """Yield a function that shows each epoch of a fold and reports it to the listener.

    Args:
        number: Number of the fold, counted from 0; the final fit has the number `folds`.
        folds: Number of folds.
        epochs: The maximum number of epochs, summed over all seeds; 0 for frozen features.
        title: Title of the progress bar.
        shown: Draw the progress bar.
        stage: The stage that is reported to the listener.
    """
    shown = shown and epochs > 0
    with ProgressBar(
        stage=stage, total=epochs, desc=title, unit="epoch", leave=number == folds, disable=not shown
    ) as bar:

        def watch(epoch: Epoch) -> None:
            bar.set_postfix(_losses(epoch))
            bar.update()
            if bar.n == epoch.number:  # each further seed counts its epochs from 1 again
                notify_epoch_end(number, folds, epoch)

        yield watch


def _losses(epoch: Epoch) -> dict[str, str]:
    shown = {"loss": f"{epoch.training.loss:.3f}"}
    if epoch.stopping_loss is not None:
        shown["validation"] = f"{epoch.stopping_loss:.3f}"
    return shown
