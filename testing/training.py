"""Jobs of training workers: options, uploads, and children without processes of their own."""

from __future__ import annotations

import contextlib
import io
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from django.core.files.uploadedfile import SimpleUploadedFile

from testing.options import FINETUNE
from trainer.options import FitOptions
from trainer.worker.dispatch import perform
from trainer.worker.protocol import (
    LOG_FILE,
    Event,
    Order,
    Outcome,
    read_event,
    read_outcome,
    write_order,
    write_outcome,
)

QUICK = FitOptions(folds=2)
"""A head on frozen features, otherwise the defaults of the form and of the API."""

TRAINED = FINETUNE.replace(learning_rate=1e-4, ema=0)
"""Two folds of two epochs, and the final fit on all images."""


def as_upload(data: bytes, name: str = "data.zip") -> SimpleUploadedFile:
    """Return a zip as a form receives it."""
    return SimpleUploadedFile(name, data, "application/zip")


class InProcessChild:
    """A stand-in for `patchvote.training.child.Child` that does the order at once, in this process.

    Order, events, log and outcome pass through the same files and lines. What is missing is the process, and with it
    the seconds in which it imports PyTorch: tests of signals, pipes and cancelling need a real child.
    """

    pid = os.getpid()
    ended = True
    died_for_memory = False

    def __init__(self, folder: Path, order: Order) -> None:
        """Do the order, unless an earlier child left an outcome."""
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_order(folder, order)
        output = io.BytesIO()
        if read_outcome(folder) is None:
            with _logging_to(folder / LOG_FILE):
                write_outcome(folder, perform(folder, output))
        self._lines = output.getvalue().splitlines()

    @property
    def outcome(self) -> Outcome | None:
        """The outcome in the folder."""
        return read_outcome(self.folder)

    def events(self) -> Iterator[Event]:
        """Yield the events that have not been read yet."""
        lines, self._lines = self._lines, []
        for line in lines:
            event = read_event(line)
            if event is not None:
                yield event

    def end(self) -> None:
        """Do nothing: the order is done."""

    def close(self) -> None:
        """Do nothing: there are no pipes."""


@contextlib.contextmanager
def _logging_to(file: Path) -> Iterator[None]:
    """Write the trainer's log lines to a file, as a child's standard error is."""
    handler, logger = logging.FileHandler(file), logging.getLogger("trainer")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()
