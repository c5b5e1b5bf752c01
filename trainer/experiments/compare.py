"""Compare two finished studies on the images that both tested."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.evaluation import results
from trainer.evaluation.candidates import ScoredCandidate, best, diverged, score
from trainer.evaluation.comparison import DRAWS, AnyPredictions, ContingencyTable, StudyComparison, differences
from trainer.evaluation.results import StudyResults

Floats = NDArray[np.float64]


def compare(
    a: Path, b: Path, *, candidate_a: str = "", candidate_b: str = "", draws: int = DRAWS, seed: int = 0
) -> StudyComparison:
    """Compare a candidate of one study with a candidate of another on the images that both studies tested.

    Images are the same if their pixels are. The thresholds and temperatures are those of each whole study. Each
    bootstrap sample of patients is used for both candidates.

    Args:
        a: Folder of study A.
        b: Folder of study B.
        candidate_a: Name of the candidate of study A; "" chooses the best one of its comparison.
        candidate_b: Name of the candidate of study B; "" chooses the best one of its comparison.
        draws: Number of bootstrap samples.
        seed: Seed of the bootstrap.

    Raises:
        ValueError: If a folder contains no study, a candidate is unknown, or the studies have different tasks, no
            image in common, or different labels for the same image.
    """
    (study_a, _), (study_b, _) = results.load(a), results.load(b)
    if study_a.task != study_b.task:
        raise ValueError(f"{a} is a study of {study_a.task}, {b} of {study_b.task}: there is nothing to compare.")
    one, other = _choose(a, study_a, candidate_a), _choose(b, study_b, candidate_b)
    keys_a, keys_b = _PredictionKeys.of(study_a, one), _PredictionKeys.of(study_b, other)
    common = np.intersect1d(keys_a.images, keys_b.images)
    problem = _problem(study_a, study_b, common)
    if problem:
        raise ValueError(f"{a} and {b} cannot be compared: {problem}")
    paired = _match_one_to_one(keys_a, keys_b, common)
    predictions_a = _align(one, keys_a, common, paired=paired)
    predictions_b = _align(other, keys_b, common, paired=paired)
    return StudyComparison(
        name_a=f"{a.resolve().name}: {one.name}",
        name_b=f"{b.resolve().name}: {other.name}",
        images=int(common.size),
        patients=len(set(predictions_a.patients.tolist())),
        paired=paired,
        warnings=tuple(_warnings(study_a, study_b, int(common.size))),
        differences=differences(predictions_a, predictions_b, draws=draws, seed=seed),
        verdicts=ContingencyTable.of(predictions_a, predictions_b),
        intended_use=study_a.intended_use,
    )


@dataclass(frozen=True)
class _PredictionKeys:
    """The keys of a candidate's predictions: the hash of the image's pixels and the repeat, of shape (predictions,)."""

    images: NDArray[np.str_]
    repeats: NDArray[np.intp]

    @classmethod
    def of(cls, study: StudyResults, candidate: ScoredCandidate) -> _PredictionKeys:
        images = np.array([study.images[image].sha256 for image in candidate.out_of_fold.image.tolist()], dtype=np.str_)
        return cls(images, candidate.out_of_fold.repeat)

    def select(self, images: NDArray[np.str_]) -> list[tuple[str, int]]:
        """Return the sorted keys of the predictions for some images."""
        kept = np.isin(self.images, images)
        return sorted(zip(self.images[kept].tolist(), self.repeats[kept].tolist(), strict=True))


def _choose(folder: Path, study: StudyResults, name: str) -> ScoredCandidate:
    """Return the candidate with a name, or the best one of the comparison if the name is ""."""
    usable = [candidate for candidate in study.candidates if not diverged(study, candidate)]
    if name:
        named = [candidate for candidate in usable if candidate.name == name]
        if not named:
            names = ", ".join(candidate.name for candidate in usable)
            raise ValueError(
                f"{folder} contains no candidate {name!r} that can be measured. Its candidates are: {names}."
            )
        return score(study, named[0])
    compared = [candidate for candidate in usable if candidate.purpose == "comparison"] or usable
    if not compared:
        raise ValueError(f"{folder} contains no candidate that can be measured.")
    return best([score(study, candidate) for candidate in compared])


def _problem(a: StudyResults, b: StudyResults, common: NDArray[np.str_]) -> str:
    """Return the reason why nothing can be measured on the common images, or ""."""
    if not common.size:
        return "they have tested no image in common."
    shared = set(common.tolist())
    labels_a, labels_b = ({one.sha256: one.label for one in study.images if one.sha256 in shared} for study in (a, b))
    contradicting = sum(labels_a[sha] != labels_b[sha] for sha in shared)
    if contradicting:
        return f"they do not agree on the truth of {contradicting} images that both tested."
    if a.kind.binary and len(set(labels_a.values())) < len(a.classes):
        return "the images that both tested are of one class alone."
    return ""


def _match_one_to_one(a: _PredictionKeys, b: _PredictionKeys, common: NDArray[np.str_]) -> bool:
    """Return whether each prediction for the common images has exactly one counterpart in the other study."""
    keys_a, keys_b = a.select(common), b.select(common)
    return keys_a == keys_b and len(set(keys_a)) == len(keys_a)


def _align(
    candidate: ScoredCandidate, keys: _PredictionKeys, common: NDArray[np.str_], *, paired: bool
) -> AnyPredictions:
    """Return the predictions for the common images, sorted by their keys; unless paired, their means per image."""
    kept = np.isin(keys.images, common)
    repeats = keys.repeats[kept] if paired else np.zeros(int(kept.sum()), dtype=int)
    names = [f"{image} {repeat:09}" for image, repeat in zip(keys.images[kept], repeats, strict=True)]
    _, first, index = np.unique(names, return_index=True, return_inverse=True)
    values: dict[str, Any] = {}
    for field in fields(candidate.predictions):
        array = getattr(candidate.predictions, field.name)[kept]
        # Label and patient are the same for all predictions of an image; everything that was predicted is averaged.
        values[field.name] = _average(array, index) if array.dtype.kind == "f" else array[first]
    return replace(candidate.predictions, **values)


def _average(values: Floats, group: NDArray[np.intp]) -> Floats:
    counts = np.bincount(group)
    sums = np.zeros((counts.size, *values.shape[1:]))
    np.add.at(sums, group, values)
    average: Floats = (sums.T / counts).T
    return average


def _warnings(a: StudyResults, b: StudyResults, common: int) -> Iterator[str]:
    if a.protocol != b.protocol:
        yield f"The protocols differ: {a.protocol} and {b.protocol}."
    elif len(a.splits) != len(b.splits) or a.seed != b.seed:
        yield "The folds differ: when the two tested the same patients, they had been trained on different ones."
    for name, study in (("A", a), ("B", b)):
        if study.leaks:
            yield f"{name} was trained on images of patients that it was tested on: its metrics are too high."
        if study.synthetic:
            yield f"The images of {name} are synthetic."
    if a.data.get("fingerprint") != b.data.get("fingerprint"):
        yield (
            f"The data differ: {common:,} images are in both studies, of {len(a.images):,} in A and {len(b.images):,} "
            "in B. The two were not trained on the same images."
        )
