"""Checkpoints after each epoch: a training that was killed resumes and gives the same result."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch

from trainer.utils.files import write_atomically


class Checkpoint:
    """A file with the state of a training after its latest epoch."""

    def __init__(self, path: Path | None, *identity: object) -> None:
        """Store the path and the identity of the training.

        Args:
            path: The file; None disables checkpoints.
            identity: Everything that the training depends on. The state of another training is not used.
        """
        self._path = path
        self._identity = hashlib.sha256(repr(identity).encode()).hexdigest()

    def load(self) -> dict[str, Any] | None:
        """Return the latest state, on the CPU; None if there is none of this training, or it is damaged."""
        if self._path is None or not self._path.is_file():
            return None
        try:
            # `weights_only` loads tensors and plain data; nothing in the file can run.
            state: dict[str, Any] = torch.load(self._path, map_location="cpu", weights_only=True)
        except Exception:  # noqa: BLE001 (a damaged file may raise anything; the training then starts from the beginning)
            return None
        return state if state.get("identity") == self._identity else None

    def save(self, state: dict[str, Any]) -> None:
        """Replace the state, completely or not at all."""
        if self._path is not None:
            # Not flushed to the disk: faster, and a power failure costs one more epoch of training.
            full = {**state, "identity": self._identity}
            write_atomically(self._path, lambda file: torch.save(full, file), durable=False)
