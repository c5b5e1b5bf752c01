"""What a search found, as plain data, and what it is worth to patients it never saw."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from classifier.bundle import INTENDED_USE
from trainer.choices import ThresholdRule
from trainer.data.tasks import TaskName
from trainer.evaluation import metrics, multiclass
from trainer.evaluation.metrics import Estimate, Predictions, draw_patients, estimate
from trainer.evaluation.multiclass import ClassPredictions
from trainer.evaluation.out_of_fold import OutOfFold
from trainer.options import FitOptions
from trainer.schemas import FrozenModel

Floats = NDArray[np.float64]
Objective = Literal["log_loss", "auc"]
_Said: TypeAlias = Predictions | ClassPredictions

_DRAWS = 2000


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


class PartSearch(FrozenModel):
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


class Honest(FrozenModel):
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
    splits: list[PartSearch]
    final: PartSearch
    best: FitOptions
    honest: Honest | None

    @property
    def searches(self) -> list[PartSearch]:
        """All of them, the one on all images last."""
        return [*self.splits, self.final]


def honest(base: OutOfFold, searched: OutOfFold, rule: ThresholdRule) -> Honest:
    """Measure both on the same patients; every draw of the bootstrap is used for both.

    Args:
        base: Predictions by the base options.
        searched: Predictions by the options chosen in each split, each split's logits divided by its own search's
            temperature: heads of different C speak louder or softer, and a ranking across splits needs one voice.
        rule: How thresholds are chosen.
    """
    once = np.ones((1, searched.labels.size))
    drawn = draw_patients(searched.labels, searched.patients, _DRAWS, 0)
    said = (_said(searched, rule), _said(base, rule))
    (ours, theirs), (ours_drawn, theirs_drawn) = (
        [_measures(one, weights) for one in said] for weights in (once, drawn)
    )
    return Honest(
        searched={name: estimate(float(ours[name][0]), ours_drawn[name]) for name in ours},
        base={name: estimate(float(theirs[name][0]), theirs_drawn[name]) for name in ours},
        difference={
            name: estimate(float((ours[name] - theirs[name])[0]), ours_drawn[name] - theirs_drawn[name])
            for name in ours
        },
        predictions=int(searched.labels.size),
        patients=len(set(searched.patients)),
    )


def _said(found: OutOfFold, rule: ThresholdRule) -> _Said:
    if found.scores.logits.shape[1] == 2:  # noqa: PLR2004 (two classes have a threshold)
        return found.predictions(rule)
    return ClassPredictions(
        found.labels, found.patients, found.scores.shares, found.scores.logits, found.probabilities()
    )


def _measures(said: _Said, weights: Floats) -> dict[str, Floats]:
    if isinstance(said, ClassPredictions):
        return multiclass.measures(weights, said)
    return metrics.measures(weights, said)
