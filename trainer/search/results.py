"""What a search found, as plain data, and what it is worth to patients it never saw."""

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
    """One choice of options.

    Attributes:
        number: Counted from 1 over the finished trials.
        values: Of the options that are searched.
        objective: Of the pooled inner out-of-fold predictions.
        temperature: Fitted on them, as every model gets one.
        diverged: The loss was no number any more; the objective is the worst there is.
    """

    number: int
    values: dict[str, Any]
    objective: float
    temperature: float
    diverged: bool = False


class SubsetSearch(FrozenModel):
    """All trials inside one split's training images, or inside all images.

    Attributes:
        name: Of the split.
        objective: What was searched for.
        trials: In their order.
        importances: Share of the objective's variance that each option explains; empty where too few trials differ.
    """

    name: str
    objective: Objective
    trials: list[Trial]
    importances: dict[str, float]

    @property
    def usable(self) -> list[Trial]:
        """Those that did not diverge."""
        return [trial for trial in self.trials if not trial.diverged]

    @property
    def best(self) -> Trial:
        """The first of the best ones."""
        choose = min if self.objective == "log_loss" else max
        return choose(self.usable, key=lambda trial: trial.objective)

    @property
    def best_so_far(self) -> Floats:
        """After each trial, of shape (trials,)."""
        values = np.array([trial.objective for trial in self.trials])
        return np.minimum.accumulate(values) if self.objective == "log_loss" else np.maximum.accumulate(values)


class NestedEvaluation(FrozenModel):
    """Measures on images that no search saw, and of the base options on the same images.

    Attributes:
        searched: Of the options chosen in each split, by the measure's name.
        base: Of the base options.
        difference: `searched` minus `base`, by a paired bootstrap.
        predictions: How many were measured.
        patients: Whose they are.
    """

    searched: dict[str, Estimate]
    base: dict[str, Estimate]
    difference: dict[str, Estimate]
    predictions: int
    patients: int


class SearchResults(FrozenModel):
    """Everything that a search found and that is the same whenever it is run again.

    Attributes:
        task: See `trainer.data.tasks.TaskName`.
        protocol: Of the outer splits.
        protocol_note: What that means, in a sentence.
        leaks: True where patients are on both sides of an outer split by the protocol's design.
        synthetic: True where no patient is behind the images.
        data: Fingerprint, counts, citation.
        notes: What was done to the data set's list.
        objective: What trials were ranked by.
        inner_folds: 0 for one patient at a time.
        trials: Of each search.
        space: Optuna's distributions, as it writes them.
        base: The options that were not searched, and the first trial's values.
        splits: The searches of the outer splits; none where the search was not measured.
        final: The search on all images.
        best: The options that it chose.
        honest: None where the search was not measured.
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
        """All of them, the one on all images last."""
        return [*self.splits, self.final]
