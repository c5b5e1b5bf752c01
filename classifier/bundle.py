"""A bundle: a folder with `model.safetensors` and `metadata.json`, everything that a verdict needs; or both in one zip.

The metadata holds the SHA-256 of the weights, and the identity of a bundle is the SHA-256 of its metadata file: two
bundles with the same identity are identical to the last byte.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from pydantic import ValidationError

from classifier import bundle_archive as archive
from classifier.bundle_metadata import (
    INTENDED_USE,
    MODEL_NAME,
    BundleMetadata,
    Seen,
    image_hash,
    patient_hash,
    patient_key,
)
from classifier.utils.messages import MessageError
from classifier.utils.safe_zip import ArchiveError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

__all__ = [
    "INTENDED_USE", "METADATA_FILE", "MODEL_NAME", "SHIPPED", "WEIGHTS_FILE", "Bundle", "BundleError",
    "BundleMetadata", "Seen", "check", "copy", "image_hash", "pack", "patient_hash", "patient_key", "save", "unpack",
]  # fmt: skip

WEIGHTS_FILE = "model.safetensors"
METADATA_FILE = "metadata.json"
_FILES = (METADATA_FILE, WEIGHTS_FILE)
_MAX_METADATA_BYTES = 16 * 2**20
SHIPPED = Path(__file__).parent / "bundles" / "patchvote-40x"
"""The bundle that comes with Patchvote."""


class BundleError(MessageError):
    """A bundle that cannot be used; the message says why."""


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk whose hashes have been checked.

    Attributes:
        folder: The folder of its two files.
        metadata: The content of `metadata.json`.
        sha256: Its identity, in hexadecimal.
    """

    folder: Path
    metadata: BundleMetadata
    sha256: str

    @classmethod
    def load(cls, folder: str | Path) -> Bundle:
        """Read and check a bundle.

        Raises:
            BundleError: If a file is missing, the metadata is not valid, or the hash of the weights differs.
        """
        folder = Path(folder)
        try:
            with (folder / METADATA_FILE).open("rb") as file:
                raw = file.read(_MAX_METADATA_BYTES + 1)
            weights_sha256 = _file_hash(folder / WEIGHTS_FILE)
        except OSError as error:
            raise BundleError(f"{folder} is not a bundle: {error.strerror}: {error.filename}.") from error
        if len(raw) > _MAX_METADATA_BYTES:
            raise BundleError(f"The bundle's metadata is larger than {_MAX_METADATA_BYTES // 2**20} MB.")
        if b"\\u0000" in raw:  # no database stores it in a text column
            raise BundleError("The bundle's metadata holds a NUL character.")
        try:
            metadata = BundleMetadata.model_validate_json(raw)
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise BundleError(f"The bundle's metadata is not valid: {problems}") from error
        if metadata.weights_sha256 != weights_sha256:
            raise BundleError("The bundle's weights are not the ones that its metadata names.")
        return cls(folder, metadata, hashlib.sha256(raw).hexdigest())

    def module(self) -> nn.Module:
        """Return the network with its weights, on the CPU, in evaluation mode.

        Raises:
            BundleError: If the network is unknown or the weights do not fit it.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        from classifier import networks

        try:
            module = networks.ensemble(
                networks.create(self.metadata.network, classes=len(self.metadata.classes))
                for _ in range(self.metadata.members)
            )
            module.load_state_dict(load_file(self.folder / WEIGHTS_FILE))
        except (KeyError, RuntimeError, SafetensorError) as error:
            raise BundleError(f"The bundle's weights do not fit {self.metadata.network}: {error}") from error
        return module


def save(folder: str | Path, state: Mapping[str, Tensor], metadata: BundleMetadata) -> Bundle:
    """Write a bundle, completely or not at all.

    Args:
        folder: The new folder; it must not exist yet.
        state: The network's `state_dict()`.
        metadata: The metadata; `weights_sha256` is set here.

    Raises:
        BundleError: If the folder exists.
    """
    from safetensors.torch import save_file

    folder = Path(folder)
    if folder.exists():
        raise BundleError(f"{folder} exists already. Bundles never change: choose another folder.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
        save_file(tensors, draft / WEIGHTS_FILE)
        metadata = metadata.model_copy(update={"weights_sha256": _file_hash(draft / WEIGHTS_FILE)})
        (draft / METADATA_FILE).write_text(metadata.model_dump_json(indent=2) + "\n", encoding="utf-8")
        for file in draft.iterdir():
            file.chmod(0o644)
        draft.chmod(0o755)
        draft.rename(folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return Bundle.load(folder)


def copy(bundle: Bundle, folder: Path) -> Bundle:
    """Copy a bundle to a folder, completely or not at all; the folder may already hold the same bundle."""
    if not folder.exists():
        with _draft(folder) as draft:
            for name in _FILES:
                shutil.copyfile(bundle.folder / name, draft / name)
            _move(draft, folder)
    return _same(bundle, folder)


def pack(bundle: Bundle, file: str | Path | IO[bytes]) -> None:
    """Write a bundle as one zip; the same bundle always gives the same bytes.

    Args:
        bundle: The bundle to pack.
        file: A path, or a file opened for writing in binary.
    """
    if isinstance(file, str | Path):
        with Path(file).open("wb") as opened:
            archive.write(opened, bundle.folder, _FILES)
    else:
        archive.write(file, bundle.folder, _FILES)


def check(file: IO[bytes], *, max_bytes: int = archive.MAX_BYTES) -> None:
    """Refuse a file that cannot be a packed bundle, by the zip's list of entries alone.

    Raises:
        BundleError: If it is refused.
    """
    try:
        archive.check(file, _FILES, max_bytes=max_bytes)
    except ArchiveError as error:
        raise _refused(error) from error


def unpack(file: str | Path | IO[bytes], folder: str | Path, *, max_bytes: int = archive.MAX_BYTES) -> Bundle:
    """Unpack and check a packed bundle, completely or not at all.

    Args:
        file: A path, or a file opened for reading in binary.
        folder: The bundle's folder; it may already hold the same bundle.
        max_bytes: The maximum size of the bundle's files together.

    Raises:
        BundleError: If the file is not exactly one valid bundle. The message names no path of this machine.
    """
    if isinstance(file, str | Path):
        with Path(file).open("rb") as opened:
            return unpack(opened, folder, max_bytes=max_bytes)
    folder = Path(folder)
    with _draft(folder) as draft:
        try:
            archive.extract(file, _FILES, draft, max_bytes=max_bytes)
        except ArchiveError as error:
            raise _refused(error) from error
        _check_weights(draft / WEIGHTS_FILE)
        bundle = Bundle.load(draft)
        if not folder.exists():
            _move(draft, folder)
    return _same(bundle, folder)


def _refused(error: ArchiveError) -> BundleError:
    [message] = error.messages
    return BundleError(message.template, **message.values)


@contextmanager
def _draft(folder: Path) -> Iterator[Path]:
    """Yield an empty folder beside the new one; it is removed afterwards unless it was moved."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".bundle-", dir=folder.parent) as scratch:
        draft = Path(scratch) / "bundle"
        draft.mkdir()
        yield draft


def _move(draft: Path, folder: Path) -> None:
    try:
        draft.rename(folder)
    except OSError:
        if not folder.exists():  # if it exists, another process wrote the same content first
            raise


def _same(bundle: Bundle, folder: Path) -> Bundle:
    """Load the bundle in the folder and check that it is the given one."""
    loaded = Bundle.load(folder)
    if loaded.sha256 != bundle.sha256:
        raise BundleError(f"{folder.name} holds another bundle.")
    return loaded


def _check_weights(file: Path) -> None:
    """Refuse a file of weights that is not in the safetensors format, without reading the weights."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy"):
            pass
    except SafetensorError as error:
        raise BundleError(
            f"{WEIGHTS_FILE} is not a safetensors file. Weights are read from safetensors only, never unpickled: a "
            f"pickle "
            "could run any program."
        ) from error


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
