"""The results of a search as plain data."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from classifier.bundle import INTENDED_USE
from trainer.data.tasks import TaskName
from trainer.evaluation.metrics import Estimate
from trainer.options import FitOptions
from trainer.schemas import FrozenModel

Floats = NDArray[np.float64]
Objective = Literal["log_loss", "auc"]


class Trial(FrozenModel):
    """A trial: one set of options that was tried.

    Attributes:
        number: The number of the trial among the finished ones, counted from 1.
        values: The values of the searched options, by name.
        objective: The objective of the pooled inner out-of-fold predictions.
        temperature: The temperature fitted on these predictions.
        diverged: Whether the training diverged; the objective is then the worst possible one.
    """

    number: int
    values: dict[str, Any]
    objective: float
    temperature: float
    diverged: bool = False


class SubsetSearch(FrozenModel):
    """The search on the training images of one outer split, or on all images.

    Attributes:
        name: The name of the subset.
        objective: The objective that ranks the trials.
        trials: The finished trials, in order.
        importances: The share of the objective's variance that each option explains; empty if too few trials differ.
    """

    name: str
    objective: Objective
    trials: list[Trial]
    importances: dict[str, float]

    @property
    def usable(self) -> list[Trial]:
        """The trials that did not diverge."""
        return [trial for trial in self.trials if not trial.diverged]

    @property
    def best(self) -> Trial:
        """The best trial; the first one on a tie."""
        choose = min if self.objective == "log_loss" else max
        return choose(self.usable, key=lambda trial: trial.objective)

    @property
    def best_so_far(self) -> Floats:
        """The best objective up to each trial, of shape (trials,)."""
        values = np.array([trial.objective for trial in self.trials])
        return np.minimum.accumulate(values) if self.objective == "log_loss" else np.maximum.accumulate(values)


class NestedEvaluation(FrozenModel):
    """The metrics of the searched options and of the base options, on images that no search has seen.

    Attributes:
        searched: The metrics of the options that were chosen in each outer split, by the metric's name.
        base: The metrics of the base options.
        difference: `searched` minus `base`, with the intervals of a paired bootstrap.
        predictions: The number of predictions.
        patients: The number of patients.
    """

    searched: dict[str, Estimate]
    base: dict[str, Estimate]
    difference: dict[str, Estimate]
    predictions: int
    patients: int


class SearchResults(FrozenModel):
    """The results of a search that are the same whenever it is run again.

    Attributes:
        task: The task; see `trainer.data.tasks.TaskName`.
        protocol: The protocol of the outer splits.
        protocol_note: The meaning of the protocol, as a phrase.
        leaks: Whether the protocol puts images of one patient on both sides of an outer split by design.
        synthetic: Whether the images are synthetic.
        data: Fingerprint, counts and citation; see `trainer.experiments.provenance.describe_data`.
        notes: The changes that were made to the list of images, one sentence each.
        objective: The objective that ranks the trials.
        inner_folds: The number of inner folds; 0 leaves one patient out at a time.
        trials: The number of trials of each search.
        space: The distribution of each searched option, in Optuna's notation.
        base: The options that were not searched, and the values of the first trial.
        splits: The searches of the outer splits; empty if the search was not nested.
        final: The search on all images.
        best: The options that the search on all images chose.
        honest: The unbiased evaluation by the outer splits; None if the search was not nested.
    """

    format_version: Literal[1] = 1
    intended_use: str = INTENDED_USE
    task: TaskName
    protocol: str
    protocol_note: str
    leaks: bool
    synthetic: bool
    data: dict[str, Any]
    notes: list[str]
    objective: Objective
    inner_folds: int
    trials: int
    space: dict[str, dict[str, Any]]
    base: FitOptions
    splits: list[SubsetSearch]
    final: SubsetSearch
    best: FitOptions
    honest: NestedEvaluation | None

    @property
    def searches(self) -> list[SubsetSearch]:
        """All searches; the one on all images is the last."""
        return [*self.splits, self.final]
