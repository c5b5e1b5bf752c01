"""Two models on the same images, each image decoded once."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from classifier import votes
from classifier.bundle import Bundle, BundleError
from classifier.imaging.decode import DecodeError, decode
from classifier.predictor import Predictor
from trainer.data.records import CLASSES, DataSetError
from trainer.evaluation.comparison import ContingencyTable, MetricDifference, differences
from trainer.evaluation.metrics import Predictions, confusion
from trainer.schemas import FrozenModel
from trainer.utils.files import write_atomically
from trainer.utils.progress import ProgressBar, Stage
from trainer.worker.failures import DataChangedError
from trainer.worker.protocol import CompareOrder, CompareResult, Confusion, Confusions, Interval, LabelledFile, Measure

_JUDGED_FILE = "judged.jsonl"


class _Said(FrozenModel):
    """What one model says of one image: the malignant share, the mean logit, and the calibrated probability."""

    share: float
    logit: float
    probability: float


class _Judged(FrozenModel):
    """What both models say of one image."""

    sha256: str
    champion: _Said
    candidate: _Said


def compare(order: CompareOrder, folder: Path) -> CompareResult:
    """Let both models judge every image, and measure both.

    Args:
        order: Which models, which images.
        folder: Keeps what was said of each image.

    Raises:
        BundleError: If a model cannot be used, or not on these images.
        DataChangedError: If an image is not any more what it was.
        DataSetError: If there are no images, or one cannot be used.
        FileNotFoundError: If one is gone.
    """
    if not order.images:
        raise DataSetError(["There are no images to compare the models on."])
    judged = _judge(order, folder / _JUDGED_FILE)
    champion = _predictions(order.images, [one.champion for one in judged], order.champion)
    candidate = _predictions(order.images, [one.candidate for one in judged], order.candidate)
    agreed = ContingencyTable.of(champion, candidate)
    labels = [image.label for image in order.images]
    return CompareResult(
        images=len(labels),
        patients=len({image.patient for image in order.images}),
        benign=labels.count("benign"),
        malignant=labels.count("malignant"),
        measures=tuple(_measure(one) for one in differences(champion, candidate)),
        confusion=Confusions(champion=Confusion(**confusion(champion)), candidate=Confusion(**confusion(candidate))),
        both_right=agreed.both_right,
        only_champion_right=agreed.only_a_right,
        only_candidate_right=agreed.only_b_right,
        both_wrong=agreed.both_wrong,
        verdicts_differ=agreed.verdicts_differ,
    )


def _judge(order: CompareOrder, path: Path) -> list[_Judged]:
    """What both say of each image, in order; what an earlier child has written down is read."""
    known = _read(path)
    missing = {image.sha256: image for image in order.images if image.sha256 not in known}
    if missing:
        lines = "".join(f"{one.model_dump_json()}\n" for one in known.values())
        write_atomically(path, lambda file: file.write(lines.encode()))  # without a line that a dying child broke off
        models = _Models(order)
        total = len(missing) + len(known)
        with path.open("a", encoding="utf-8") as file:
            for image in ProgressBar(
                missing.values(), stage=Stage.JUDGING, initial=len(known), total=total, disable=True
            ):
                known[image.sha256] = models.judge(image)
                file.write(f"{known[image.sha256].model_dump_json()}\n")
                file.flush()
    return [known[image.sha256] for image in order.images]


def _read(path: Path) -> dict[str, _Judged]:
    known = {}
    for line in path.read_bytes().splitlines() if path.is_file() else []:
        with contextlib.suppress(ValidationError):
            one = _Judged.model_validate_json(line)
            known[one.sha256] = one
    return known


class _Models:
    """Champion and candidate, loaded."""

    def __init__(self, order: CompareOrder) -> None:
        # float32 by rule: timing both formats, as a worker does, would choose now one, now the other.
        self._champion, self._candidate = (
            Predictor(Bundle.load(folder), device=order.device, precision="float32")
            for folder in (order.champion, order.candidate)
        )

    def judge(self, image: LabelledFile) -> _Judged:
        """Both of one image."""
        try:
            decoded = decode(image.path)
            if decoded.sha256 != image.sha256:
                raise DataChangedError([f"{image.path} has changed since it was stored."])
            return _Judged(
                sha256=image.sha256,
                champion=_say(self._champion, decoded.pixels),
                candidate=_say(self._candidate, decoded.pixels),
            )
        except DecodeError as error:
            raise DataSetError([f"{image.path} cannot be used: {error.message}"]) from error


def _say(model: Predictor, pixels: NDArray[np.uint8]) -> _Said:
    metadata = model.bundle.metadata
    try:
        [(places, logits)] = model.start([pixels]).logits()
        counted = votes.count(places, logits, threshold=metadata.threshold, temperature=metadata.temperature)
    except ValueError as error:
        raise BundleError(f"The model {metadata.name} cannot judge every image: {error}") from error
    mean = math.fsum(logits) / len(logits)
    return _Said(share=counted.malignant_share, logit=mean, probability=votes.sigmoid(mean / metadata.temperature))


def _predictions(images: Sequence[LabelledFile], said: Sequence[_Said], bundle: Path) -> Predictions:
    threshold = Bundle.load(bundle).metadata.threshold
    return Predictions(
        labels=np.array([CLASSES.index(image.label) for image in images], dtype=np.int64),
        patients=np.array([image.patient for image in images], dtype=np.str_),
        shares=np.array([one.share for one in said]),
        thresholds=np.full(len(said), threshold),
        logits=np.array([one.logit for one in said]),
        probabilities=np.array([one.probability for one in said]),
    )


def _measure(found: MetricDifference) -> Measure:
    """Without numbers where the measure needs a class that no image has."""
    if math.isnan(found.a) or math.isnan(found.b):
        return Measure(measure=found.measure)
    return Measure(
        measure=found.measure,
        champion=found.a,
        candidate=found.b,
        difference=Interval(**asdict(found.difference)),
        candidate_better=found.b_better,
    )
