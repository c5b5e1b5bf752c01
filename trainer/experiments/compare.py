"""Two studies side by side: what differs on the images that both tested, with intervals that resample patients."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from trainer.evaluation import metrics, multiclass, results
from trainer.evaluation.metrics import Estimate, Predictions, draw_patients, estimate
from trainer.evaluation.multiclass import ClassPredictions
from trainer.evaluation.results import StudyResults
from trainer.report import comparison
from trainer.report.document import Document
from trainer.report.formatting import LOWER_IS_BETTER, MEASURES
from trainer.report.scored import Scored, best, diverged, score

Floats = NDArray[np.float64]
Said: TypeAlias = Predictions | ClassPredictions

NAME = "comparison"
"""Of the files that a comparison writes, without their suffixes."""


@dataclass(frozen=True)
class Difference:
    """One measure of both.

    Attributes:
        measure: Its name; see `trainer.evaluation.metrics.Metrics` and `trainer.evaluation.multiclass.ClassMetrics`.
        a: Of the first study.
        b: Of the second.
        difference: B - A, with the 95 % interval of the paired bootstrap.
        b_better: Share of the draws in which B is the better one; equals count half.
    """

    measure: str
    a: float
    b: float
    difference: Estimate
    b_better: float


@dataclass(frozen=True)
class Comparison:
    """Two candidates of two studies on the images that both tested.

    Attributes:
        name_a: The first study's folder and candidate.
        name_b: The second's.
        images: Tested by both.
        patients: Of these images.
        paired: True where each prediction has its like in the other study; False where each image's mean over the
            repeats is compared.
        warnings: Why the comparison may be unfair, in sentences.
        differences: In the order of the measures.
        both_right: Verdicts on the same image; so are the next three.
        only_a_right: A right, B wrong.
        only_b_right: A wrong, B right.
        both_wrong: Neither right.
        verdicts_differ: How many verdicts are not the same.
        intended_use: What the numbers are for.
    """

    name_a: str
    name_b: str
    images: int
    patients: int
    paired: bool
    warnings: tuple[str, ...]
    differences: tuple[Difference, ...]
    both_right: int
    only_a_right: int
    only_b_right: int
    both_wrong: int
    verdicts_differ: int
    intended_use: str

    @property
    def verdicts(self) -> int:
        """How many were compared."""
        return self.both_right + self.only_a_right + self.only_b_right + self.both_wrong

    @property
    def text(self) -> str:
        """For a terminal."""
        return comparison.text(self)

    @property
    def document(self) -> Document:
        """As a page: its `html` stands alone, its `markdown` has its figure in a file."""
        return comparison.document(self)

    @property
    def markdown(self) -> str:
        """As Markdown."""
        return self.document.markdown

    @property
    def html(self) -> str:
        """As a page that stands alone."""
        return self.document.html

    def write(self, out: Path) -> None:
        """Write `comparison.html`, `comparison.md` and its figure's file into a folder, each atomically."""
        self.document.write(out, NAME)


def compare(
    a: Path, b: Path, *, candidate_a: str = "", candidate_b: str = "", draws: int = 2000, seed: int = 0
) -> Comparison:
    """Compare two finished studies on the images that both tested; the bootstrap draws the same patients for both.

    Images are the same where their pixels are. Thresholds and temperatures are those of each whole study.

    Args:
        a: The first study's folder.
        b: The second's.
        candidate_a: Which of the first study's candidates; the best of those compared when "".
        candidate_b: Which of the second study's.
        draws: Number of bootstrap samples.
        seed: Of the bootstrap.

    Raises:
        ValueError: If a folder holds no study, a candidate is unknown, or the studies have no images, no task, or not
            the same truth in common.
    """
    (study_a, _), (study_b, _) = results.load(a), results.load(b)
    if study_a.task != study_b.task:
        raise ValueError(f"{a} is a study of {study_a.task}, {b} of {study_b.task}: there is nothing to compare.")
    one, other = _choose(a, study_a, candidate_a), _choose(b, study_b, candidate_b)
    keys_a, keys_b = _keys(study_a, one), _keys(study_b, other)
    common = np.intersect1d(keys_a.images, keys_b.images)
    problem = _problem(study_a, study_b, common)
    if problem:
        raise ValueError(f"{a} and {b} cannot be compared: {problem}")
    paired = _alike(keys_a, keys_b, common)
    said_a, said_b = _means(one, keys_a, common, paired=paired), _means(other, keys_b, common, paired=paired)
    agreed = Agreement.of(said_a, said_b)
    return Comparison(
        name_a=f"{a.resolve().name}: {one.name}",
        name_b=f"{b.resolve().name}: {other.name}",
        images=int(common.size),
        patients=len(set(said_a.patients.tolist())),
        paired=paired,
        warnings=tuple(_warnings(study_a, study_b, int(common.size))),
        differences=differences(said_a, said_b, draws=draws, seed=seed),
        both_right=agreed.both_right,
        only_a_right=agreed.only_a_right,
        only_b_right=agreed.only_b_right,
        both_wrong=agreed.both_wrong,
        verdicts_differ=agreed.verdicts_differ,
        intended_use=study_a.intended_use,
    )


@dataclass(frozen=True)
class Agreement:
    """How often two models are right on the same images, and how many of their verdicts are not the same."""

    both_right: int
    only_a_right: int
    only_b_right: int
    both_wrong: int
    verdicts_differ: int

    @classmethod
    def of(cls, a: Said, b: Said) -> Agreement:
        """Count the verdicts on the same images, in the same order."""
        right_a, right_b = a.verdicts == a.labels, b.verdicts == b.labels
        return cls(
            both_right=int((right_a & right_b).sum()),
            only_a_right=int((right_a & ~right_b).sum()),
            only_b_right=int((~right_a & right_b).sum()),
            both_wrong=int((~right_a & ~right_b).sum()),
            verdicts_differ=int((a.verdicts != b.verdicts).sum()),
        )


@dataclass(frozen=True)
class _Keys:
    """What tells predictions apart: the image's pixels, and the repeat; both of shape (predictions,)."""

    images: NDArray[np.str_]
    repeats: NDArray[np.intp]

    def of(self, common: NDArray[np.str_]) -> list[tuple[str, int]]:
        """Those of some images, in order."""
        kept = np.isin(self.images, common)
        return sorted(zip(self.images[kept].tolist(), self.repeats[kept].tolist(), strict=True))


def _keys(study: StudyResults, one: Scored) -> _Keys:
    images = np.array([study.images[image].sha256 for image in one.found.image.tolist()], dtype=np.str_)
    return _Keys(images, one.found.repeat)


def _choose(folder: Path, study: StudyResults, name: str) -> Scored:
    """The candidate of that name, or the best of those compared."""
    usable = [candidate for candidate in study.candidates if not diverged(study, candidate)]
    if name:
        named = [candidate for candidate in usable if candidate.name == name]
        if not named:
            names = ", ".join(candidate.name for candidate in usable)
            raise ValueError(f"{folder} has no candidate {name!r} that could be measured. It has: {names}.")
        return score(study, named[0])
    compared = [candidate for candidate in usable if candidate.purpose == "comparison"] or usable
    if not compared:
        raise ValueError(f"{folder} has no candidate that could be measured.")
    return best([score(study, candidate) for candidate in compared])


def _problem(a: StudyResults, b: StudyResults, common: NDArray[np.str_]) -> str:
    """Why nothing can be said of the common images, or ""."""
    if not common.size:
        return "they have tested no image in common."
    wanted = set(common.tolist())
    truth_a, truth_b = ({one.sha256: one.label for one in study.images if one.sha256 in wanted} for study in (a, b))
    wrong = sum(truth_a[sha] != truth_b[sha] for sha in wanted)
    if wrong:
        return f"they do not agree on the truth of {wrong} images that both tested."
    if a.kind.binary and len(set(truth_a.values())) < len(a.classes):
        return "the images that both tested are of one class alone."
    return ""


def _alike(a: _Keys, b: _Keys, common: NDArray[np.str_]) -> bool:
    """Whether each prediction for the common images has exactly one like it in the other study."""
    of_a, of_b = a.of(common), b.of(common)
    return of_a == of_b and len(set(of_a)) == len(of_a)


def _means(one: Scored, keys: _Keys, common: NDArray[np.str_], *, paired: bool) -> Said:
    """The predictions for the common images, in the order of their keys; their means by image unless paired."""
    kept = np.isin(keys.images, common)
    repeats = keys.repeats[kept] if paired else np.zeros(int(kept.sum()), dtype=int)
    names = [f"{image} {repeat:09}" for image, repeat in zip(keys.images[kept], repeats, strict=True)]
    _, first, index = np.unique(names, return_index=True, return_inverse=True)
    values: dict[str, Any] = {}
    for field in fields(one.predictions):
        array = getattr(one.predictions, field.name)[kept]
        # Truth and patient are the same for all predictions of an image; what was said of it is averaged.
        values[field.name] = _average(array, index) if array.dtype.kind == "f" else array[first]
    return replace(one.predictions, **values)


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
        yield "The folds differ: the two were trained on other patients when they were tested on the same ones."
    for name, study in (("A", a), ("B", b)):
        if study.leaks:
            yield f"{name} was trained on images of patients that it was tested on: its numbers are too high."
        if study.synthetic:
            yield f"The images of {name} are synthetic."
    if a.data.get("fingerprint") != b.data.get("fingerprint"):
        yield (
            f"The data differ: {common:,} images are in both, of {len(a.images):,} of A and {len(b.images):,} of B; "
            "the two were not trained on the same."
        )


def _measures(said: Said, weights: Floats) -> dict[str, Floats]:
    if isinstance(said, ClassPredictions):
        return multiclass.measures(weights, said)
    return metrics.measures(weights, said)


def differences(a: Said, b: Said, *, draws: int = 2000, seed: int = 0) -> tuple[Difference, ...]:
    """Every measure of both, and B minus A by the paired bootstrap over patients.

    Args:
        a: The first one's predictions.
        b: The second one's, for the same images in the same order.
        draws: Number of bootstrap samples.
        seed: Of the bootstrap.

    Returns:
        In the order of the measures; no numbers where a measure needs a class that no image has.
    """
    once, drawn = np.ones((1, a.labels.size)), draw_patients(a.labels, a.patients, draws, seed)
    values_a, values_b, drawn_a, drawn_b = (_measures(said, weights) for weights in (once, drawn) for said in (a, b))
    found = []
    for name in (name for name in MEASURES if name in values_a):
        value_a, value_b = float(values_a[name][0]), float(values_b[name][0])
        samples = drawn_b[name] - drawn_a[name]
        gain = -samples if name in LOWER_IS_BETTER else samples
        better = float(((np.sign(gain) + 1) / 2).mean())
        found.append(Difference(name, value_a, value_b, estimate(value_b - value_a, samples), better))
    return tuple(found)
