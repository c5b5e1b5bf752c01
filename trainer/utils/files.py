"""Write files so that no reader ever sees a part of one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


def write_atomically(path: Path, write: Callable[[BinaryIO], object], *, durable: bool = True) -> None:
    """Write a file completely or not at all, even if the process is killed meanwhile.

    Args:
        path: The file; its folder is created if it does not exist.
        write: Writes the content to the open file that it gets.
        durable: Flush the file to the disk before it replaces the old one, so that it survives a power failure.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".part-", delete=False) as file:
        try:
            write(file)  # type: ignore[arg-type]  # a wrapper, not a BinaryIO by name
            file.flush()
            if durable:
                os.fsync(file.fileno())
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
    Path(file.name).chmod(0o644)
    Path(file.name).replace(path)
