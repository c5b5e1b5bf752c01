"""Compare two models on the same images; each image is decoded once."""

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

_SCORES_FILE = "judged.jsonl"


class _Scores(FrozenModel):
    """The scores of one image by one model: malignant share, mean logit and calibrated probability."""

    share: float
    logit: float
    probability: float


class _ScoredImage(FrozenModel):
    """The scores of one image by both models."""

    sha256: str
    champion: _Scores
    candidate: _Scores


def compare(order: CompareOrder, folder: Path) -> CompareResult:
    """Predict every image with both models, and compute the metrics of both.

    Args:
        order: The models and the images.
        folder: The folder that stores the scores of each image.

    Raises:
        BundleError: If a model cannot be used, or cannot read one of the images.
        DataChangedError: If an image has changed.
        DataSetError: If there are no images, or one cannot be used.
        FileNotFoundError: If an image is missing.
    """
    if not order.images:
        raise DataSetError(["There are no images to compare the models on."])
    scored = _score_images(order, folder / _SCORES_FILE)
    champion = _predictions(order.images, [one.champion for one in scored], order.champion)
    candidate = _predictions(order.images, [one.candidate for one in scored], order.candidate)
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


def _score_images(order: CompareOrder, path: Path) -> list[_ScoredImage]:
    """Return the scores of all images, in order; those that an earlier child stored are read from the file."""
    known = _read(path)
    missing = {image.sha256: image for image in order.images if image.sha256 not in known}
    if missing:
        lines = "".join(f"{one.model_dump_json()}\n" for one in known.values())
        write_atomically(
            path, lambda file: file.write(lines.encode())
        )  # drops a line that a killed child did not finish
        models = _Models(order)
        total = len(missing) + len(known)
        with path.open("a", encoding="utf-8") as file:
            for image in ProgressBar(
                missing.values(), stage=Stage.JUDGING, initial=len(known), total=total, disable=True
            ):
                known[image.sha256] = models.score(image)
                file.write(f"{known[image.sha256].model_dump_json()}\n")
                file.flush()
    return [known[image.sha256] for image in order.images]


def _read(path: Path) -> dict[str, _ScoredImage]:
    known = {}
    for line in path.read_bytes().splitlines() if path.is_file() else []:
        with contextlib.suppress(ValidationError):
            one = _ScoredImage.model_validate_json(line)
            known[one.sha256] = one
    return known


class _Models:
    """Champion and candidate, loaded."""

    def __init__(self, order: CompareOrder) -> None:
        # Always float32: measuring, as a worker does, could choose different formats in different runs.
        self._champion, self._candidate = (
            Predictor(Bundle.load(folder), device=order.device, precision="float32")
            for folder in (order.champion, order.candidate)
        )

    def score(self, image: LabelledFile) -> _ScoredImage:
        """Return the scores of one image by both models."""
        try:
            decoded = decode(image.path)
            if decoded.sha256 != image.sha256:
                raise DataChangedError([f"{image.path} has changed since it was stored."])
            return _ScoredImage(
                sha256=image.sha256,
                champion=_score(self._champion, decoded.pixels),
                candidate=_score(self._candidate, decoded.pixels),
            )
        except DecodeError as error:
            raise DataSetError([f"{image.path} cannot be used: {error.message}"]) from error


def _score(model: Predictor, pixels: NDArray[np.uint8]) -> _Scores:
    metadata = model.bundle.metadata
    try:
        [(places, logits)] = model.start([pixels]).logits()
        counted = votes.count(places, logits, threshold=metadata.threshold, temperature=metadata.temperature)
    except ValueError as error:
        raise BundleError(f"The model {metadata.name} cannot read every image: {error}") from error
    mean = math.fsum(logits) / len(logits)
    return _Scores(share=counted.malignant_share, logit=mean, probability=votes.sigmoid(mean / metadata.temperature))


def _predictions(images: Sequence[LabelledFile], scores: Sequence[_Scores], bundle: Path) -> Predictions:
    threshold = Bundle.load(bundle).metadata.threshold
    return Predictions(
        labels=np.array([CLASSES.index(image.label) for image in images], dtype=np.int64),
        patients=np.array([image.patient for image in images], dtype=np.str_),
        shares=np.array([one.share for one in scores]),
        thresholds=np.full(len(scores), threshold),
        logits=np.array([one.logit for one in scores]),
        probabilities=np.array([one.probability for one in scores]),
    )


def _measure(found: MetricDifference) -> Measure:
    """Convert a difference; without numbers if the metric needs a class that no image has."""
    if math.isnan(found.a) or math.isnan(found.b):
        return Measure(measure=found.measure)
    return Measure(
        measure=found.measure,
        champion=found.a,
        candidate=found.b,
        difference=Interval(**asdict(found.difference)),
        candidate_better=found.b_better,
    )
