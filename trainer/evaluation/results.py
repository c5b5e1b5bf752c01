"""What a study found, as plain data: tables, figures and comparisons are made of it alone."""

from __future__ import annotations

import math
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from classifier.bundle import INTENDED_USE
from trainer.data.tasks import TASKS, Task, TaskName
from trainer.evaluation.out_of_fold import OutOfFold, join_scores
from trainer.options import FitOptions
from trainer.schemas import FoldResult, FrozenModel

Purpose = Literal["comparison", "rate", "epochs"]
"""Why a candidate is in a study: to be compared with the others, or for the thesis's Table 1 or Figure 17."""


class Candidate(FrozenModel):
    """One way to make a model, with what all folds gave.

    Attributes:
        name: Unique in the study, for people, such as `resnet18 scratch`.
        purpose: See `Purpose`.
        options: All of them.
        weights: Where the network's first weights come from.
        parameters: How many the network has.
        folds: In the order of the study's splits.
    """

    name: str
    purpose: Purpose = "comparison"
    options: FitOptions
    weights: str
    parameters: int
    folds: list[FoldResult]


class ImageRecord(FrozenModel):
    """One image of the study: `file` is relative to the data set, `label` a class of the task."""

    file: str
    sha256: str
    label: str
    patient: str
    subtype: str = ""
    slide: str = ""
    magnification: str = ""


class SplitRecord(FrozenModel):
    """One split as all candidates saw it; `shared_patients` counts patients on both sides, where a protocol leaks."""

    name: str
    repeat: int
    test_images: int
    test_patients: int
    shared_patients: int = 0


class StudyResults(FrozenModel):
    """Everything that a study found and that is the same whenever it is run again.

    Attributes:
        task: See `trainer.data.tasks.TaskName`.
        protocol: See `trainer.choices.Protocol`.
        protocol_note: What that means, in a sentence.
        leaks: True where patients are on both sides by the protocol's design.
        seed: Of everything random.
        magnifications: Of the images.
        data: Fingerprint, counts, citation; see `trainer.experiments.fit`.
        notes: What was done to the data set's list, and warnings, in sentences.
        images: All images, in the order that `FoldResult.images` counts.
        splits: In the order of each candidate's folds.
        candidates: In the order asked for.
    """

    format_version: Literal[1] = 1
    intended_use: str = INTENDED_USE
    task: TaskName
    protocol: str
    protocol_note: str
    leaks: bool
    seed: int
    magnifications: list[str]
    synthetic: bool
    data: dict[str, Any]
    notes: list[str]
    images: list[ImageRecord]
    splits: list[SplitRecord]
    candidates: list[Candidate]

    @property
    def classes(self) -> tuple[str, ...]:
        """In the order of the logits."""
        return self.kind.classes

    @property
    def kind(self) -> Task:
        """The task itself."""
        return TASKS[self.task]

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """Class numbers of all images."""
        return np.array([self.classes.index(image.label) for image in self.images], dtype=np.int64)

    @cached_property
    def patients(self) -> NDArray[np.str_]:
        """Patients of all images."""
        return np.array([image.patient for image in self.images], dtype=np.str_)

    @property
    def compared(self) -> list[Candidate]:
        """The candidates of the comparison proper."""
        return [candidate for candidate in self.candidates if candidate.purpose == "comparison"]

    def tested(self, candidate: Candidate) -> NDArray[np.intp]:
        """Numbers of the images in the order of `out_of_fold`'s predictions."""
        return np.array([image for fold in candidate.folds for image in fold.images], dtype=np.intp)

    def out_of_fold(self, candidate: Candidate) -> OutOfFold:
        """All predictions of a candidate, fold by fold."""
        tested = self.tested(candidate)
        sizes = [len(fold.images) for fold in candidate.folds]
        return OutOfFold(
            image=tested,
            labels=self.labels[tested],
            patients=self.patients[tested],
            fold=np.repeat(np.arange(len(sizes)), sizes),
            repeat=np.repeat([split.repeat for split in self.splits], sizes),
            scores=join_scores(candidate.folds),
        )


class Run(FrozenModel):
    """What differs from one run of the same study to the next.

    Attributes:
        device: In words: the GPU's name, or the CPU and its cores.
        precision: Of the networks that were trained.
        versions: Of Python and the libraries.
        finished: ISO 8601, UTC.
        seconds: Training and scoring time of each candidate's folds, by the candidate's name.
    """

    device: str
    precision: str
    versions: dict[str, str]
    finished: str
    seconds: dict[str, list[float]]

    def total(self, candidate: str) -> float:
        """Seconds of all folds of a candidate."""
        return math.fsum(self.seconds.get(candidate, ()))


RESULTS_FILE, RUN_FILE = "results.json", "run.json"


def load(folder: Path) -> tuple[StudyResults, Run]:
    """Read a finished study's results.

    Raises:
        ValueError: If the folder holds none, or others than this version writes.
    """
    try:
        results = (folder / RESULTS_FILE).read_bytes()
        run = (folder / RUN_FILE).read_bytes()
    except OSError as error:
        raise ValueError(f"{folder} holds no finished study: {error.strerror}: {error.filename}.") from error
    try:
        return StudyResults.model_validate_json(results), Run.model_validate_json(run)
    except ValueError as error:
        raise ValueError(f"The results in {folder} were written by another version: {error}") from error
