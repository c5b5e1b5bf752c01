"""Progress of long work: bars on a terminal, and a listener.

Work iterates over a `ProgressBar`. The bar is drawn if a command asks for it; in either case it notifies the listener
of the surrounding `listening` block, so that no function has to pass a listener on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from tqdm import tqdm

from classifier.utils.messages import gettext_noop
from trainer.schemas import Epoch, FoldResult

if TYPE_CHECKING:
    _Tqdm = tqdm[Any]
else:
    _Tqdm = tqdm  # generic for type checkers alone


class Stage(StrEnum):
    """A stage of the work, with its name for users."""

    UNPACKING = gettext_noop("Unpacking")
    READING = gettext_noop("Reading images")
    FEATURES = gettext_noop("Computing features")
    FOLDS = gettext_noop("Cross-validation")
    EPOCHS = gettext_noop("Training")
    REPORT = gettext_noop("Writing the report")
    FINAL = gettext_noop("Training on all images")
    JUDGING = gettext_noop("Judging images")
    TRYING = gettext_noop("Trying the model")


class Listener(Protocol):
    """A receiver of progress; an exception that it raises ends the work."""

    def on_progress(self, stage: Stage, done: int, total: int) -> None:
        """Receive the progress of a stage, first at its start; `total` is 0 if it is unknown."""

    def on_epoch_end(self, fold: int, folds: int, epoch: Epoch) -> None:
        """Receive an epoch of a fold; folds count from 0, and the one after the last is the final fit on all images.

        After a restart, earlier epochs are reported again. If several seeds are averaged, these are the epochs of the
        first seed.
        """

    def on_fold_end(self, fold: int, folds: int, result: FoldResult, seconds: float) -> None:
        """Receive the result of a fold and the seconds of all attempts.

        After a restart, earlier folds are reported again.
        """


_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Notify a listener of the progress of this thread inside the block."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


class ProgressBar(_Tqdm):
    """A tqdm bar that notifies the listener of each step, even if the bar is not drawn.

    Attributes:
        n: The number of finished steps.
    """

    def __init__(self, iterable: Any = None, *, stage: Stage, **options: Any) -> None:
        """Create the bar; the options are tqdm's, and the stage is the default description."""
        super().__init__(iterable, **{"desc": stage.value, **options})
        self._stage = stage
        self._notify()

    def __iter__(self) -> Iterator[Any]:
        """Yield the items; an item counts as a step when the loop asks for the next one."""
        try:
            for item in self.iterable:
                yield item
                self.update()
        finally:
            self.close()

    def update(self, n: float | None = 1) -> bool | None:
        """Count steps, and notify the listener."""
        drawn = super().update(n)
        if self.disable:  # tqdm does not count then
            self.n += n or 0
        self._notify()
        return drawn

    def _notify(self) -> None:
        listener = _listener.get()
        if listener is not None:
            listener.on_progress(self._stage, int(self.n), int(self.total or 0))


def notify_epoch_end(fold: int, folds: int, epoch: Epoch) -> None:
    """Notify the listener, if there is one; see `Listener.on_epoch_end`."""
    listener = _listener.get()
    if listener is not None:
        listener.on_epoch_end(fold, folds, epoch)


def notify_fold_end(fold: int, folds: int, result: FoldResult, seconds: float) -> None:
    """Notify the listener, if there is one; see `Listener.on_fold_end`."""
    listener = _listener.get()
    if listener is not None:
        listener.on_fold_end(fold, folds, result, seconds)
