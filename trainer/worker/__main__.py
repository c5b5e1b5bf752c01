"""`python -m trainer.worker FOLDER`: execute the order in a folder."""

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

_LOCK_TIMEOUT = 20.0  # seconds to wait for an earlier child that is still exiting
_BUSY = 4
_USAGE = 2


def main(folder: Path) -> int:
    """Execute the order in a folder and write the outcome there.

    Returns:
        The exit status: 0 if there is an outcome, 2 if there is no such folder, 4 if another child uses the folder.
    """
    _watch_parent()
    # Set before PyTorch is loaded: waiting threads release their core instead of spinning.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    output = _take_stdout()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.captureWarnings(capture=True)
    if not folder.is_dir():
        logger.error("There is no folder %s.", folder)
        return _USAGE
    try:
        with _wait_for_lock(folder):
            if read_outcome(folder) is None:
                from trainer.worker.dispatch import perform

                _write_outcome(folder, perform(folder, output))
    except _BusyError as error:
        logger.error("%s", error)  # noqa: TRY400 (a traceback would add nothing)
        return _BUSY
    return 0


class _BusyError(Exception):
    """Another child uses the folder."""


def _watch_parent() -> None:
    """Exit as soon as the standard input ends, because the parent is then gone."""

    def watch() -> None:
        try:
            while os.read(0, 1024):
                pass
        except OSError:
            pass
        os._exit(ORPHANED)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def _take_stdout() -> BinaryIO:
    """Return the standard output for events only; other output is redirected to the standard error."""
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return output


@contextmanager
def _wait_for_lock(folder: Path) -> Iterator[None]:
    until = time.monotonic() + _LOCK_TIMEOUT
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


def _write_outcome(folder: Path, outcome: Outcome) -> None:
    """Write the outcome; if the disk is full, write a smaller one that says so."""
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
    os._exit(status)  # without waiting for threads of libraries: the outcome is written
