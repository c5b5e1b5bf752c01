"""`python -m trainer.worker FOLDER`: do the order in a folder."""

from __future__ import annotations

import errno
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from trainer.utils.lock import locked
from trainer.worker.protocol import ORPHANED, Outcome, read_outcome, write_outcome

logger = logging.getLogger("trainer.worker")

_PATIENCE = 20.0  # seconds, for an earlier child that is still dying
_BUSY = 4
_USAGE = 2


def main(folder: Path) -> int:
    """Do the order in a folder, and leave the outcome there.

    Returns:
        The exit status: 0 where there is an outcome, 2 where there is no such folder, 4 where another child works.
    """
    _watch_parent()
    # Before PyTorch is loaded: threads that wait for each other give their core to other work, instead of spinning.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    output = _take_stdout()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.captureWarnings(capture=True)
    if not folder.is_dir():
        logger.error("There is no folder %s.", folder)
        return _USAGE
    try:
        with _alone_in(folder):
            if read_outcome(folder) is None:
                from trainer.worker.dispatch import perform

                _leave(folder, perform(folder, output))
    except _BusyError as error:
        logger.error("%s", error)  # noqa: TRY400 (the sentence is all there is to say)
        return _BUSY
    return 0


class _BusyError(Exception):
    """Another child works in the folder."""


def _watch_parent() -> None:
    """End this process as soon as its standard input ends: then nobody waits for it any more."""

    def watch() -> None:
        try:
            while os.read(0, 1024):
                pass
        except OSError:
            pass
        os._exit(ORPHANED)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def _take_stdout() -> BinaryIO:
    """The standard output, for events alone: whatever else is printed goes to standard error from now on."""
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return output


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    until = time.monotonic() + _PATIENCE
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(locked(folder))
                break
            except ValueError as error:
                if time.monotonic() > until:
                    raise _BusyError(str(error)) from error
                time.sleep(0.1)
        yield


def _leave(folder: Path, outcome: Outcome) -> None:
    """Write the outcome; where the disk is too full for it, one that says so and needs less room."""
    try:
        write_outcome(folder, outcome)
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        from trainer.worker.failures import Names, failure

        write_outcome(folder, failure(error, Names({})))


if __name__ == "__main__":
    if len(sys.argv) != 2:  # noqa: PLR2004 (the module and the folder)
        sys.exit("Usage: python -m trainer.worker FOLDER")
    status = main(Path(sys.argv[1]))
    logging.shutdown()
    os._exit(status)  # not waiting for threads of libraries: the outcome is written
