"""Batches of analyses: images of one model version that fit into memory together and share a forward pass."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from django.utils.translation import gettext_noop

from classifier.imaging.decode import DecodeError
from patchvote.cases import pixel_cache
from patchvote.cases.inference import model_cache
from patchvote.cases.models import Analysis, Image
from patchvote.jobs import ledger, stats

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from classifier.predictor import Pass, Predictor

logger = logging.getLogger(__name__)

FILE_GONE = gettext_noop("The image's file cannot be read on the server. Send the image again.")

MAX_PIXELS_AT_ONCE = 100_000_000
"""Maximum number of decoded pixels of a batch that are in memory at once; a single larger image forms its own batch."""

DECODERS = min(4, os.cpu_count() or 1)
"""Number of threads that decode the next batch."""


class Readable(NamedTuple):
    """An analysis whose lease the worker still holds, with the decoded pixels of its image."""

    analysis: Analysis
    pixels: NDArray[np.uint8]


@dataclass
class Batch:
    """Analyses by one model version that are computed together.

    Attributes:
        analyses: The claimed analyses.
        predictor: The network of the model version; may still be loading.
        decoded: The pixels of each image, in the order of `analyses`; may still be decoding.
        readable: The analyses that are computed; empty until the batch begins.
        passing: The running forward pass; None until the batch begins.
        ahead: True once the batch was scheduled behind the batch before it.
    """

    analyses: list[Analysis]
    predictor: Future[Predictor] = field(default_factory=Future)
    decoded: list[Future[NDArray[np.uint8]]] = field(default_factory=list)
    readable: list[Readable] = field(default_factory=list)
    passing: Pass | None = None
    ahead: bool = False

    @property
    def tried(self) -> bool:
        """Whether an earlier attempt did not finish; such an analysis forms its own batch, as it may kill workers."""
        return self.analyses[0].attempts > 1

    def prepare(self, threads: Executor) -> None:
        """Start to load the network and to decode the images, unless that has started already."""
        if not self.decoded:
            self.predictor = model_cache.load(self.analyses[0].model_version)
            self.decoded = [threads.submit(_decode, analysis.image) for analysis in self.analyses]

    def may_follow(self, other: Batch) -> bool:
        """Return whether this batch can begin behind another: same network, not begun yet, and nothing to wait for."""
        if self.ahead or self.predictor is not other.predictor:
            return False
        return self.predictor.done() and all(pixels.done() for pixels in self.decoded)

    def stop(self) -> None:
        """Stop the computation; the batch can begin again later."""
        if self.passing:
            self.passing.drop()
        self.passing, self.ahead = None, False


def split_into_batches(analyses: Sequence[Analysis]) -> Iterator[Batch]:
    """Group analyses by model version and split each group so that its images fit into memory together."""
    ordered = sorted(analyses, key=lambda analysis: str(analysis.model_version_id))  # stable: oldest first
    for _version, group in groupby(ordered, key=lambda analysis: analysis.model_version_id):
        batch: list[Analysis] = []
        pixels = 0
        for analysis in group:
            more = analysis.image.width * analysis.image.height
            if batch and pixels + more > MAX_PIXELS_AT_ONCE:
                yield Batch(batch)
                batch, pixels = [], 0
            batch.append(analysis)
            pixels += more
        yield Batch(batch)


def readable(batch: Batch) -> Iterator[Readable]:
    """Yield the analyses that are still held and whose image can be decoded; fail the analyses of unreadable images."""
    held = ledger.held(batch.analyses)
    for analysis, decoded in zip(batch.analyses, batch.decoded, strict=True):
        try:
            if analysis in held:
                yield Readable(analysis, decoded.result())
        except (FileNotFoundError, DecodeError):  # other errors may be temporary: the expired lease brings a retry
            logger.exception("image cannot be read", extra=analysis.log_fields)
            ledger.fail(analysis, "file_gone", FILE_GONE)


def _decode(image: Image) -> NDArray[np.uint8]:
    with stats.stage("decode"):
        return pixel_cache.pop(image)
