"""The files in the data folder that the settings need: the secret key, the folder of uploads and the Redis socket."""

from __future__ import annotations

import hashlib
import os
import secrets
import tempfile
from pathlib import Path

_LONGEST_SOCKET_PATH = 100
"""The maximum length in bytes. The kernel's limit is 107, and Redis needs some for a temporary name."""


def secret_key(folder: Path) -> str:
    """Return the secret key of the data folder; the first call creates it.

    Raises:
        SystemExit: If the folder cannot be used.
    """
    try:
        return _stored_key(folder / "secret_key")
    except OSError as error:
        raise _unusable(folder, error) from None


def upload_folder(folder: Path) -> Path:
    """Return the folder for uploads in progress; create it if necessary, because Django's checks require it.

    Raises:
        SystemExit: If the folder cannot be created.
    """
    uploads = folder / "uploads"
    try:
        uploads.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise _unusable(folder, error) from None
    return uploads


def _unusable(folder: Path, error: OSError) -> SystemExit:
    return SystemExit(f"The data folder {folder} cannot be used: {error.strerror}. Choose another: PATCHVOTE_DATA=…")


def _stored_key(path: Path) -> str:
    folder = path.parent
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile("w", dir=folder, prefix=".secret-", delete=False) as draft:
            draft.write(secrets.token_urlsafe(64))
        # os.link fails if the name exists: of two simultaneous first starts one wins, and both read its key.
        try:
            os.link(draft.name, path)
        except FileExistsError:
            pass
        finally:
            Path(draft.name).unlink()
    return path.read_text()


def private_redis_socket(folder: Path) -> Path:
    """Return the path of the private Redis socket: in the data folder unless that path is too long for the kernel."""
    socket = folder / "run" / "redis.sock"
    if len(os.fsencode(socket)) <= _LONGEST_SOCKET_PATH:
        return socket
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"patchvote-{os.getuid()}-{digest}" / "redis.sock"
