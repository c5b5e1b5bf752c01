"""The state of a training after an epoch: what makes a training that was killed end as if it had not been."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch

from trainer.utils.files import write_atomically


class Checkpoint:
    """One file that holds the latest epoch's state, or nothing."""

    def __init__(self, path: Path | None, *identity: object) -> None:
        """Name the file.

        Args:
            path: The file; None keeps nothing.
            identity: All that the training depends on: a state of another training is not gone on with.
        """
        self._path = path
        self._identity = hashlib.sha256(repr(identity).encode()).hexdigest()

    def load(self) -> dict[str, Any] | None:
        """The state last kept, on the CPU; None if there is none of this training, or it is damaged."""
        if self._path is None or not self._path.is_file():
            return None
        try:
            # Tensors and plain data only: nothing in the file can run.
            kept: dict[str, Any] = torch.load(self._path, map_location="cpu", weights_only=True)
        except Exception:  # noqa: BLE001 (damage may look like anything; the training then starts again)
            return None
        return kept if kept.get("identity") == self._identity else None

    def save(self, state: dict[str, Any]) -> None:
        """Keep a state instead of the last one, completely or not at all."""
        if self._path is not None:
            # Not waiting for the disk: after a power cut an epoch more is trained, and each epoch is faster.
            full = {**state, "identity": self._identity}
            write_atomically(self._path, lambda file: torch.save(full, file), durable=False)
