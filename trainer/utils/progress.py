"""What long work says of itself: bars on a terminal, and a listener who may be anyone.

Work goes through a `Bar`. It draws itself where a command asks for it, and tells the listener of the surrounding
`listening` block either way, so no function need hand a listener on to the next.
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
    """What is being done, in words for people."""

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
    """Is told how work goes on; what it raises ends the work."""

    def on_progress(self, stage: Stage, done: int, total: int) -> None:
        """So much of a stage is done; `total` is 0 where nobody knows it. Told at a stage's start, too."""

    def on_epoch_end(self, fold: int, folds: int, epoch: Epoch) -> None:
        """An epoch of a fold, counted from 0; the fold after the last one is the final fit on all images.

        Epochs of before a break are told again. Where several seeds are averaged, these are the first one's.
        """

    def on_fold_end(self, fold: int, folds: int, result: FoldResult, seconds: float) -> None:
        """A fold's result, with the seconds of all attempts; those of before a break are told again."""


_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Tell a listener of all that this thread does inside the block."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


class ProgressBar(_Tqdm):
    """tqdm's bar; the listener is told of its steps, even of one that is not drawn.

    Attributes:
        n: How many steps are done.
    """

    def __init__(self, iterable: Any = None, *, stage: Stage, **options: Any) -> None:
        """See tqdm; the stage is the description where there is no other."""
        super().__init__(iterable, **{"desc": stage.value, **options})
        self._stage = stage
        self._tell()

    def __iter__(self) -> Iterator[Any]:
        """Go through the items, each one a step once the loop asks for the next."""
        try:
            for item in self.iterable:
                yield item
                self.update()
        finally:
            self.close()

    def update(self, n: float | None = 1) -> bool | None:
        """Count steps."""
        drawn = super().update(n)
        if self.disable:  # then tqdm does not count
            self.n += n or 0
        self._tell()
        return drawn

    def _tell(self) -> None:
        listener = _listener.get()
        if listener is not None:
            listener.on_progress(self._stage, int(self.n), int(self.total or 0))


def notify_epoch_end(fold: int, folds: int, epoch: Epoch) -> None:
    """Tell the listener, if there is one; see `Listener.on_epoch_end`."""
    listener = _listener.get()
    if listener is not None:
        listener.on_epoch_end(fold, folds, epoch)


def notify_fold_end(fold: int, folds: int, result: FoldResult, seconds: float) -> None:
    """Tell the listener, if there is one; see `Listener.on_fold_end`."""
    listener = _listener.get()
    if listener is not None:
        listener.on_fold_end(fold, folds, result, seconds)
