"""Going through the folds so that nothing is computed twice: each fold's result is kept, and so is each epoch."""

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
from trainer.utils.progress import Bar, Stage, tell_epoch, tell_fold


class FinishedFold(FrozenModel):
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


class Clock:
    """Counts seconds over all attempts: what was lost with a killed process is not counted."""

    def __init__(self, path: Path) -> None:
        """Go on from the seconds that the file holds, if there is one."""
        self._path, self._started = path, time.monotonic()
        self._before = float(path.read_text()) if path.is_file() else 0.0

    @property
    def seconds(self) -> float:
        """Of all attempts so far."""
        return self._before + time.monotonic() - self._started

    def keep(self) -> None:
        """Write them down for the next attempt."""
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
        epochs: Of one fold at the most, all seeds together; 0 for none.
        title: Of the progress bars.
        progress: Show progress bars.
    """
    done = []
    with Bar(stage=Stage.FOLDS, total=len(splits), desc=title or "Folds", unit="fold", disable=not progress) as bar:
        for number, split in enumerate(splits):
            fold = store.finished(number)
            if fold is None:
                shown = watching(number, len(splits), epochs, title=split.name, shown=progress)
                try:
                    fold = _run_fold(fitter, split, store, number, shown)
                except FloatingPointError:
                    if diverged is None:
                        raise
                    fold = FinishedFold(result=diverged(split), seconds=0)
                store.finish(number, fold)
            else:
                for epoch in fold.result.epochs:
                    tell_epoch(number, len(splits), epoch)
            tell_fold(number, len(splits), fold.result, fold.seconds)
            done.append(fold)
            bar.update()
    return done


def _run_fold(
    fitter: Fitter, split: Split, store: FoldStore, number: int, shown: AbstractContextManager[Watcher]
) -> FinishedFold:
    clock = Clock(store.work(number) / "seconds")
    with shown as tell:

        def watch(epoch: Epoch) -> None:
            clock.keep()
            tell(epoch)

        result = fitter.out_of_fold(split, work=store.work(number), watch=watch)
    return FinishedFold(result=result, seconds=clock.seconds)


@contextmanager
def watching(
    number: int, folds: int, epochs: int, *, title: str, shown: bool, stage: Stage = Stage.EPOCHS
) -> Iterator[Watcher]:
    """Show a fold's epochs and tell the listener of them.

    Args:
        number: Of the fold, counted from 0; that of the final fit is `folds`.
        folds: How many there are.
        epochs: At the most, all seeds together; 0 for none.
        title: Of the bar.
        shown: Draw the bar.
        stage: What the listener is told that this is.
    """
    shown = shown and epochs > 0
    with Bar(stage=stage, total=epochs, desc=title, unit="epoch", leave=number == folds, disable=not shown) as bar:

        def watch(epoch: Epoch) -> None:
            bar.set_postfix(_curves(epoch))
            bar.update()
            if bar.n == epoch.number:  # those of further seeds begin at 1 again
                tell_epoch(number, folds, epoch)

        yield watch


def _curves(epoch: Epoch) -> dict[str, str]:
    shown = {"loss": f"{epoch.training.loss:.3f}"}
    if epoch.stopping_loss is not None:
        shown["validation"] = f"{epoch.stopping_loss:.3f}"
    return shown
