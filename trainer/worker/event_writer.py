"""The events of a child: every epoch, every fold, and the progress at most four times a second."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from typing import BinaryIO

from trainer.schemas import Epoch, FoldResult
from trainer.utils.progress import Stage
from trainer.worker.protocol import ORPHANED, EpochDone, Event, FoldDone, Progress

logger = logging.getLogger(__name__)

_INTERVAL = 0.25  # seconds between two progress events


class EventWriter:
    """A progress listener that writes events as JSON lines."""

    def __init__(self, output: BinaryIO) -> None:
        """Store the stream."""
        self._output = output
        self._spans: dict[Stage, tuple[float, float]] = {}
        self._fraction, self._written_at = 0.0, -_INTERVAL
        self._folds_done, self._folds = 0, 0

    def expect(self, shares: Mapping[Stage, float]) -> None:
        """Set the expected duration of each stage relative to the others, in order; the fraction never decreases."""
        whole, before = sum(shares.values()) or 1, 0.0
        for stage, share in shares.items():
            self._spans[stage] = (before / whole, share / whole)
            before += share

    def on_progress(self, stage: Stage, done: int, total: int) -> None:
        """See `trainer.utils.progress.Listener`."""
        share = min(1.0, done / total) if total else 0.0
        slot = stage
        if stage is Stage.FOLDS:
            self._folds_done, self._folds = done, total
        elif stage is Stage.EPOCHS:
            slot, share = Stage.FOLDS, (self._folds_done + share) / max(1, self._folds)
        before, span = self._spans.get(slot, (0.0, 0.0))
        self._fraction = min(1.0, max(self._fraction, before + share * span))
        if time.monotonic() - self._written_at >= _INTERVAL:
            self._written_at = time.monotonic()
            self._write(Progress(stage=stage, done=done, total=total, fraction=round(self._fraction, 4)))

    def on_epoch_end(self, fold: int, folds: int, epoch: Epoch) -> None:
        """See `trainer.utils.progress.Listener`."""
        where = f"fold {fold + 1} of {folds}" if fold < folds else "all images"
        loss = "" if epoch.validation is None else f", on validation images {epoch.validation.loss:.4f}"
        logger.info("%s, epoch %d: loss %.4f%s", where, epoch.number, epoch.training.loss, loss)
        self._write(EpochDone(fold=fold, folds=folds, epoch=epoch))

    def on_fold_end(self, fold: int, folds: int, result: FoldResult, seconds: float) -> None:
        """See `trainer.utils.progress.Listener`."""
        logger.info("%s: accuracy on test patches %.1f %%", result.name, 100 * result.test.accuracy)
        self._write(
            FoldDone(
                fold=fold,
                folds=folds,
                name=result.name,
                training=result.training,
                validation=result.validation,
                test=result.test,
                epochs=len(result.epochs),
                best_epoch=result.best_epoch,
                seconds=round(seconds, 3),
            )
        )

    def _write(self, event: Event) -> None:
        try:
            self._output.write(event.model_dump_json().encode() + b"\n")
            self._output.flush()
        except BrokenPipeError:  # the parent is gone
            os._exit(ORPHANED)
