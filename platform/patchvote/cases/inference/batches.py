"""What an inference worker computes together: images by one model version that fit into memory."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from django.utils.translation import gettext_noop

from classifier.decode import DecodeError
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
"""Of images that lie decoded in memory for one part; a single larger one is taken alone."""

DECODERS = min(4, os.cpu_count() or 1)
"""Threads that decode the next part."""


class Readable(NamedTuple):
    """An analysis that is still held, and the pixels of its image."""

    analysis: Analysis
    pixels: NDArray[np.uint8]


@dataclass
class Part:
    """Analyses by one model version that are computed together.

    Attributes:
        analyses: As claimed.
        predictor: Their network, perhaps still being loaded.
        decoded: Their pixels, perhaps still being decoded.
        readable: Those that are computed, once that was begun.
        passing: Their way through the network.
        ahead: Whether it was to be begun before its turn.
    """

    analyses: list[Analysis]
    predictor: Future[Predictor] = field(default_factory=Future)
    decoded: list[Future[NDArray[np.uint8]]] = field(default_factory=list)
    readable: list[Readable] = field(default_factory=list)
    passing: Pass | None = None
    ahead: bool = False

    @property
    def tried(self) -> bool:
        """True if an earlier attempt did not end: it is alone, for it may be what kills workers."""
        return self.analyses[0].attempts > 1

    def prepare(self, threads: Executor) -> None:
        """Have the network loaded and the images decoded, once."""
        if not self.decoded:
            self.predictor = model_cache.load(self.analyses[0].model_version)
            self.decoded = [threads.submit(_decode, analysis.image) for analysis in self.analyses]

    def may_follow(self, part: Part) -> bool:
        """Whether it can be begun now behind another part: by the same network, once, and without waiting."""
        if self.ahead or self.predictor is not part.predictor:
            return False
        return self.predictor.done() and all(pixels.done() for pixels in self.decoded)

    def stop(self) -> None:
        """Have no more of it computed; it may be begun again."""
        if self.passing:
            self.passing.drop()
        self.passing, self.ahead = None, False


def parts(analyses: Sequence[Analysis]) -> Iterator[Part]:
    """Analyses of one model version whose images fit into memory together."""
    ordered = sorted(analyses, key=lambda analysis: str(analysis.model_version_id))  # stable: oldest first
    for _version, group in groupby(ordered, key=lambda analysis: analysis.model_version_id):
        part: list[Analysis] = []
        size = 0
        for analysis in group:
            more = analysis.image.width * analysis.image.height
            if part and size + more > MAX_PIXELS_AT_ONCE:
                yield Part(part)
                part, size = [], 0
            part.append(analysis)
            size += more
        yield Part(part)


def readable(part: Part) -> Iterator[Readable]:
    """Those that are still held and can be decoded; what cannot fails."""
    held = ledger.held(part.analyses)
    for analysis, decoded in zip(part.analyses, part.decoded, strict=True):
        try:
            if analysis in held:
                yield Readable(analysis, decoded.result())
        except (FileNotFoundError, DecodeError):  # another error may pass: the lease brings a retry
            logger.exception("image cannot be read", extra=analysis.log_fields)
            ledger.fail(analysis, "file_gone", FILE_GONE)


def _decode(image: Image) -> NDArray[np.uint8]:
    with stats.stage("decode"):
        return pixel_cache.take(image)
