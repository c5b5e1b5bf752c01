"""The results of a study as plain data, from which all tables, plots and comparisons are made."""

from __future__ import annotations

import math
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from classifier.bundle import INTENDED_USE
from trainer.data.tasks import TASKS, Task, TaskName
from trainer.evaluation.out_of_fold import OutOfFoldPredictions, join_scores
from trainer.options import FitOptions
from trainer.schemas import FoldResult, FrozenModel

Purpose = Literal["comparison", "rate", "epochs"]
"""The purpose of a candidate in a study: comparison with the others, or the thesis's Table 1 or Figure 17."""


class Candidate(FrozenModel):
    """A candidate of a study with the results of all folds.

    Attributes:
        name: A readable name that is unique in the study, such as `resnet18 scratch`.
        purpose: The purpose; see `Purpose`.
        options: All options of the fit.
        weights: The origin of the network's first weights, in words.
        parameters: The number of the network's parameters.
        folds: The results of the folds, in the order of the study's splits.
    """

    name: str
    purpose: Purpose = "comparison"
    options: FitOptions
    weights: str
    parameters: int
    folds: list[FoldResult]


class ImageRecord(FrozenModel):
    """An image of a study: `file` is relative to the data set's folder, `label` is a class of the task."""

    file: str
    sha256: str
    label: str
    patient: str
    subtype: str = ""
    slide: str = ""
    magnification: str = ""


class SplitRecord(FrozenModel):
    """A split that all candidates share; `shared_patients` counts the patients on both sides, if the protocol leaks."""

    name: str
    repeat: int
    test_images: int
    test_patients: int
    shared_patients: int = 0


class StudyResults(FrozenModel):
    """The results of a study that are the same whenever it is run again.

    Attributes:
        task: The task; see `trainer.data.tasks.TaskName`.
        protocol: The protocol; see `trainer.choices.Protocol`.
        protocol_note: The meaning of the protocol, as a phrase.
        leaks: Whether the protocol puts images of one patient on both sides by design.
        seed: The seed of everything random.
        magnifications: The magnifications of the images.
        data: Fingerprint, counts and citation; see `trainer.experiments.provenance.describe_data`.
        notes: The changes that were made to the list of images, and warnings, one sentence each.
        images: All images; `FoldResult.images` contains indices into this list.
        splits: The splits, in the order of each candidate's folds.
        candidates: The candidates, in the order in which they were requested.
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
        """The class names, in the order of the logits."""
        return self.kind.classes

    @property
    def kind(self) -> Task:
        """The task as an object."""
        return TASKS[self.task]

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """The class numbers of all images, of shape (images,)."""
        return np.array([self.classes.index(image.label) for image in self.images], dtype=np.int64)

    @cached_property
    def patients(self) -> NDArray[np.str_]:
        """The patients of all images, of shape (images,)."""
        return np.array([image.patient for image in self.images], dtype=np.str_)

    @property
    def compared(self) -> list[Candidate]:
        """The candidates whose purpose is comparison."""
        return [candidate for candidate in self.candidates if candidate.purpose == "comparison"]

    def tested(self, candidate: Candidate) -> NDArray[np.intp]:
        """Return the indices of the tested images, in the order of the predictions of `out_of_fold`."""
        return np.array([image for fold in candidate.folds for image in fold.images], dtype=np.intp)

    def out_of_fold(self, candidate: Candidate) -> OutOfFoldPredictions:
        """Return all predictions of a candidate, fold by fold."""
        tested = self.tested(candidate)
        sizes = [len(fold.images) for fold in candidate.folds]
        return OutOfFoldPredictions(
            image=tested,
            labels=self.labels[tested],
            patients=self.patients[tested],
            fold=np.repeat(np.arange(len(sizes)), sizes),
            repeat=np.repeat([split.repeat for split in self.splits], sizes),
            scores=join_scores(candidate.folds),
        )


class Run(FrozenModel):
    """The facts about one run, which differ from one run of the same study to the next.

    Attributes:
        device: The GPU's name, or the CPU's name with its cores and threads.
        precision: The number format in which networks were trained.
        versions: The versions of Python and the libraries.
        finished: The time of the end, in ISO 8601 and UTC.
        seconds: The training and scoring time of each fold in seconds, by the candidate's name.
    """

    device: str
    precision: str
    versions: dict[str, str]
    finished: str
    seconds: dict[str, list[float]]

    def total(self, candidate: str) -> float:
        """Return the time of all folds of a candidate, in seconds."""
        return math.fsum(self.seconds.get(candidate, ()))


RESULTS_FILE, RUN_FILE = "results.json", "run.json"


def load(folder: Path) -> tuple[StudyResults, Run]:
    """Read the results and the run of a finished study.

    Raises:
        ValueError: If the folder contains no finished study, or one that this version cannot read.
    """
    try:
        results = (folder / RESULTS_FILE).read_bytes()
        run = (folder / RUN_FILE).read_bytes()
    except OSError as error:
        raise ValueError(f"{folder} contains no finished study: {error.strerror}: {error.filename}.") from error
    try:
        return StudyResults.model_validate_json(results), Run.model_validate_json(run)
    except ValueError as error:
        raise ValueError(f"The results in {folder} were written by another version: {error}") from error
