"""The trials of one subset: Optuna proposes options, and inner cross-validation scores them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.samplers import TPESampler
from optuna.trial import TrialState
from tqdm import tqdm

from trainer.data.datasets import ImageDataset
from trainer.options import FitOptions
from trainer.search import space as spaces
from trainer.search.journal import finished
from trainer.search.models import Models
from trainer.search.objective import TrialScore, score_folds, worst_score
from trainer.search.request import Request
from trainer.search.results import SubsetSearch, Trial
from trainer.search.subsets import Subset

_ENOUGH_FOR_IMPORTANCE = 8
_SCORE = "judged"


@dataclass(frozen=True)
class SubsetTrials:
    """The trials of one subset, finished and pending.

    Attributes:
        subset: The images, split for the trials.
        study: Stores the trials.
        request: The parameters of the search.
        data: The images that the splits index.
        models: Fits the models of the trials.
    """

    subset: Subset
    study: optuna.Study
    request: Request
    data: ImageDataset
    models: Models

    @property
    def done(self) -> list[optuna.trial.FrozenTrial]:
        """The finished trials in order, at most as many as requested."""
        return finished(self.study)[: self.request.trials]

    @property
    def seconds(self) -> list[float]:
        """The duration of each finished trial, in seconds."""
        return [
            round((one.datetime_complete - one.datetime_start).total_seconds(), 3)
            for one in self.done
            if one.datetime_complete and one.datetime_start
        ]

    def complete(self, bar: tqdm[Any]) -> SubsetSearch:
        """Run the pending trials and return the finished search.

        A trial depends only on the seed, its number and the finished trials before it, so an interrupted search gives
        the same results as an uninterrupted one.

        Args:
            bar: Counts the fits.

        Raises:
            ValueError: If every trial diverged.
        """
        bar.set_description(self.subset.name)
        for number in range(len(self.done), self.request.trials):
            self._set_sampler(number)
            trial = self.study.ask(dict(self.request.space))
            score = self._score(self.request.base.replace(**trial.params), bar)
            trial.set_user_attr(_SCORE, {"temperature": score.temperature, "diverged": score.diverged})
            self.study.tell(trial, score.objective)
            bar.set_postfix(trial=number + 1, best=f"{self.study.best_value:.4f}")
        search = SubsetSearch(
            name=self.subset.name,
            objective=self.request.objective,
            trials=[
                Trial(number=number, values=one.params, objective=one.values[0], **one.user_attrs[_SCORE])
                for number, one in enumerate(self.done, 1)
            ],
            importances=self._importances(),
        )
        if not search.usable:
            raise ValueError(
                f"In {self.subset.name}, every trial diverged: restrict the search to lower learning rates."
            )
        return search

    def _set_sampler(self, number: int) -> None:
        """Set the sampler of trial `number`, counted from 0; the first trial uses the base options."""
        base = self.request.base
        digest = hashlib.sha256(f"{base.seed} {self.subset.name} {number}".encode()).digest()
        self.study.sampler = TPESampler(seed=int.from_bytes(digest[:4], "big"))
        if not number and not self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            self.study.enqueue_trial(spaces.start(base, self.request.space))

    def _score(self, options: FitOptions, bar: tqdm[Any]) -> TrialScore:
        """Cross-validate options on the inner splits; options that diverge get the worst score."""
        objective, splits = self.request.objective, self.subset.inner
        folds = []
        try:
            for split in splits:
                folds.append(self.models.out_of_fold(split, options))
                bar.update()
        except FloatingPointError:
            bar.update(len(splits) - len(folds))
            return worst_score(objective, len(self.data.task.classes))
        return score_folds(objective, self.data, splits, folds)

    def _importances(self) -> dict[str, float]:
        """Return the share of the objective's variance that each option explains; empty if too few trials differ."""
        if len({one.value for one in self.done}) < _ENOUGH_FOR_IMPORTANCE or len(self.request.space) == 1:
            return {}
        requested = optuna.create_study(direction=self.study.direction)
        requested.add_trials(self.done)
        try:
            return optuna.importance.get_param_importances(
                requested, evaluator=optuna.importance.FanovaImportanceEvaluator(n_trees=32, seed=0)
            )
        except RuntimeError:  # raised if no tree finds any difference
            return {}
