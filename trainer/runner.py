"""Going through the folds so that nothing is computed twice: each fold's result is kept, and so is each epoch."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from tqdm import tqdm

from trainer.crossval import Fitter
from trainer.folds import Epoch, FoldResult, Plain
from trainer.pixels import write_atomically
from trainer.splits import Split


class FinishedFold(Plain):
    """A fold's result and how long it took, on however many attempts."""

    result: FoldResult
    seconds: float


@dataclass(frozen=True)
class FoldStore:
    """A folder that keeps the folds of one candidate.

    Attributes:
        folder: Its name holds a hash of all that the results depend on, so it never holds anything else.
    """

    folder: Path

    @classmethod
    def of(cls, parent: Path, name: str, *identity: Any) -> FoldStore:
        """The store below `parent` for a candidate and all that its results depend on."""
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()[:12]
        slug = "".join(letter if letter.isalnum() else "-" for letter in name)
        return cls(parent / f"{slug}-{digest}")

    def finished(self, number: int) -> FinishedFold | None:
        """The result of a fold, counted from 0, if it is there."""
        try:
            return FinishedFold.model_validate_json(self._result(number).read_bytes())
        except (OSError, ValidationError):
            return None

    def finish(self, number: int, fold: FinishedFold) -> None:
        """Keep a fold's result; the state of its training is not needed any more."""
        write_atomically(self._result(number), lambda file: file.write(fold.model_dump_json().encode()))
        self.forget(number)

    def forget(self, number: int) -> None:
        """Remove the state of a fold's training."""
        shutil.rmtree(self.work(number), ignore_errors=True)

    def work(self, number: int) -> Path:
        """Where the state of a fold's training lies while it is under way."""
        return self.folder / f"fold{number:03}"

    def _result(self, number: int) -> Path:
        return self.folder / f"fold{number:03}.json"


class _Clock:
    """Counts the seconds of a fold over all attempts: what was lost with a killed process is not counted."""

    def __init__(self, path: Path) -> None:
        self._path, self._started = path, time.monotonic()
        self._before = float(path.read_text()) if path.is_file() else 0.0

    @property
    def seconds(self) -> float:
        return self._before + time.monotonic() - self._started

    def keep(self) -> None:
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
    """The results of all splits, those of an earlier run read, the others computed and kept.

    Args:
        fitter: Makes the models.
        splits: In the order of the results.
        store: Keeps them.
        diverged: Makes the result of a fold whose training diverged; when None, the FloatingPointError is raised.
        epochs: Of one fold at the most, for the progress bar; 0 for none.
        title: Of the progress bars.
        progress: Show progress bars.
    """
    done = []
    with tqdm(total=len(splits), desc=title or "Folds", unit="fold", disable=not progress) as bar:
        for number, split in enumerate(splits):
            fold = store.finished(number)
            if fold is None:
                try:
                    fold = _run_fold(fitter, split, store, number, epochs if progress else 0)
                except FloatingPointError:
                    if diverged is None:
                        raise
                    fold = FinishedFold(result=diverged(split), seconds=0)
                store.finish(number, fold)
            done.append(fold)
            bar.update()
    return done


def _run_fold(fitter: Fitter, split: Split, store: FoldStore, number: int, epochs: int) -> FinishedFold:
    clock = _Clock(store.work(number) / "seconds")
    with tqdm(total=epochs, desc=split.name, unit="epoch", leave=False, disable=not epochs) as bar:

        def watch(epoch: Epoch) -> None:
            clock.keep()
            bar.set_postfix(_curves(epoch))
            bar.update()

        result = fitter.out_of_fold(split, work=store.work(number), watch=watch)
    return FinishedFold(result=result, seconds=clock.seconds)


def _curves(epoch: Epoch) -> dict[str, str]:
    shown = {"loss": f"{epoch.training.loss:.3f}"}
    if epoch.stopping_loss is not None:
        shown["validation"] = f"{epoch.stopping_loss:.3f}"
    return shown
