"""Options of trainings that take as little time as possible."""

from __future__ import annotations

from classifier.grid import PatchGrid
from trainer.options import FitOptions

GRID = PatchGrid(size=112, stride=112)
"""Nine patches of a small image."""

FROZEN = FitOptions(grid=GRID, folds=2)
"""A head on frozen features."""

FINETUNE = FitOptions(
    network="squeezenet", mode="scratch", grid=PatchGrid(size=64, stride=80),
    folds=2, epochs=2, draws=1, batch_size=8,
)  # fmt: skip
"""A whole network: two folds of two epochs, and the final fit on all images."""

LONG = FINETUNE.replace(epochs=1000, patience=1000)
"""A training that does not end while a test looks at it."""
