"""What the environment says: read once, by `settings`."""

from __future__ import annotations

import hashlib
import os
import secrets
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]

_LONGEST_SOCKET_PATH = 100
"""The kernel's limit is 107 bytes; Redis needs a few for its temporary name."""

_TRUE = {"1", "true", "yes", "on"}


def text(name: str, default: str = "") -> str:
    """An environment variable; an empty one counts as unset."""
    return os.environ.get(name, "").strip() or default


def flag(name: str) -> bool:
    """True for 1, true, yes, on."""
    return text(name).lower() in _TRUE


def words(name: str, default: str = "") -> list[str]:
    """A list separated by commas."""
    return [word.strip() for word in text(name, default).split(",") if word.strip()]


def choice(name: str, *allowed: str) -> str:
    """One of a few words; the first unless set.

    Raises:
        SystemExit: If it is none of them; the sentence names the variable.
    """
    value = text(name, allowed[0])
    if value not in allowed:
        raise SystemExit(f"{name} must be one of {', '.join(allowed)}, not {value!r}.")
    return value


def folders(name: str, default: Path) -> list[Path]:
    """A list of folders, separated as in PATH."""
    return [Path(part).expanduser().resolve() for part in text(name, str(default)).split(os.pathsep) if part.strip()]


def number(name: str, default: int, *, least: int | None = None) -> int:
    """A whole number, of at least `least`.

    Raises:
        SystemExit: If it is none; the sentence names the variable.
    """
    value = text(name, str(default))
    try:
        found = int(value)
    except ValueError:
        raise SystemExit(f"{name} must be a whole number, not {value!r}.") from None
    if least is not None and found < least:
        raise SystemExit(f"{name} must be at least {least}, not {found}.")
    return found


def share(name: str, default: float) -> float:
    """A number from 0 to 1.

    Raises:
        SystemExit: If it is none; the sentence names the variable.
    """
    value = text(name, str(default))
    try:
        number = float(value)
    except ValueError:
        number = -1
    if not 0 <= number <= 1:
        raise SystemExit(f"{name} must be a number from 0 to 1, not {value!r}.")
    return number


def data_folder() -> Path:
    """The folder that holds all that is kept: `PATCHVOTE_DATA`, else `var/`."""
    return Path(text("PATCHVOTE_DATA", str(ROOT / "var"))).expanduser().resolve()


def secret_key(folder: Path) -> str:
    """`PATCHVOTE_SECRET_KEY`, else the one kept in the data folder, made at the first start."""
    given = text("PATCHVOTE_SECRET_KEY")
    if given:
        return given
    path = folder / "secret_key"
    try:
        return _kept_key(path)
    except OSError as error:
        raise _unusable(folder, error) from None


def upload_folder(folder: Path) -> Path:
    """Where uploads lie until they are kept, made if it is missing: Django's checks refuse to run without it."""
    uploads = folder / "uploads"
    try:
        uploads.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise _unusable(folder, error) from None
    return uploads


def _unusable(folder: Path, error: OSError) -> SystemExit:
    return SystemExit(f"The data folder {folder} cannot be used: {error.strerror}. Choose another: PATCHVOTE_DATA=…")


def _kept_key(path: Path) -> str:
    folder = path.parent
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile("w", dir=folder, prefix=".secret-", delete=False) as draft:
            draft.write(secrets.token_urlsafe(64))
        # A link fails where the name exists: of two first starts one wins and both read its key.
        try:
            os.link(draft.name, path)
        except FileExistsError:
            pass
        finally:
            Path(draft.name).unlink()
    return path.read_text()


def private_redis_socket(folder: Path) -> Path:
    """The Unix socket of the private Redis: in the data folder unless its path is too long for the kernel."""
    socket = folder / "run" / "redis.sock"
    if len(os.fsencode(socket)) <= _LONGEST_SOCKET_PATH:
        return socket
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"patchvote-{os.getuid()}-{digest}" / "redis.sock"
