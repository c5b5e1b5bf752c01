"""The trials of one part: Optuna proposes options, inner cross-validation judges them."""

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
from trainer.search.objective import TrialScore, judge_folds, worst
from trainer.search.request import Request
from trainer.search.results import SubsetSearch, Trial
from trainer.search.subsets import Subset

_ENOUGH_FOR_IMPORTANCE = 8
_JUDGED = "judged"


@dataclass(frozen=True)
class Trials:
    """One part's trials, those done and those to do.

    Attributes:
        part: Whose images.
        study: Keeps them.
        request: What is asked of the search.
        data: The images that splits index.
        models: Fits what the trials ask for.
    """

    part: Subset
    study: optuna.Study
    request: Request
    data: ImageDataset
    models: Models

    @property
    def done(self) -> list[optuna.trial.FrozenTrial]:
        """The finished ones that were asked for, in their order."""
        return finished(self.study)[: self.request.trials]

    @property
    def seconds(self) -> list[float]:
        """Of each finished one."""
        return [
            round((one.datetime_complete - one.datetime_start).total_seconds(), 3)
            for one in self.done
            if one.datetime_complete and one.datetime_start
        ]

    def complete(self, bar: tqdm[Any]) -> SubsetSearch:
        """Do the missing ones.

        A trial depends on the seed, its number and the finished trials before it alone: so a search goes on as if it
        had never been broken off.

        Raises:
            ValueError: If no trial gave predictions that can be judged.
        """
        bar.set_description(self.part.name)
        for number in range(len(self.done), self.request.trials):
            self._line_up(number)
            trial = self.study.ask(dict(self.request.space))
            found = self._judge(self.request.base.replace(**trial.params), bar)
            trial.set_user_attr(_JUDGED, {"temperature": found.temperature, "diverged": found.diverged})
            self.study.tell(trial, found.objective)
            bar.set_postfix(trial=number + 1, best=f"{self.study.best_value:.4f}")
        search = SubsetSearch(
            name=self.part.name,
            objective=self.request.objective,
            trials=[
                Trial(number=number, values=one.params, objective=one.values[0], **one.user_attrs[_JUDGED])
                for number, one in enumerate(self.done, 1)
            ],
            importances=self._importances(),
        )
        if not search.usable:
            raise ValueError(f"In {self.part.name}, every trial diverged: restrict the search to lower learning rates.")
        return search

    def _line_up(self, number: int) -> None:
        """Say what chooses trial `number`, from 0: the first is the base options, as far as the space holds them."""
        base = self.request.base
        digest = hashlib.sha256(f"{base.seed} {self.part.name} {number}".encode()).digest()
        self.study.sampler = TPESampler(seed=int.from_bytes(digest[:4], "big"))
        if not number and not self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            self.study.enqueue_trial(spaces.start(base, self.request.space))

    def _judge(self, options: FitOptions, bar: tqdm[Any]) -> TrialScore:
        """Cross-validate options on the inner splits; where that diverges, they are the worst."""
        objective, splits = self.request.objective, self.part.inner
        folds = []
        try:
            for split in splits:
                folds.append(self.models.out_of_fold(split, options))
                bar.update()
        except FloatingPointError:
            bar.update(len(splits) - len(folds))
            return worst(objective, len(self.data.task.classes))
        return judge_folds(objective, self.data, splits, folds)

    def _importances(self) -> dict[str, float]:
        """How much of the objective's variance each option explains; empty where too few trials differ."""
        if len({one.value for one in self.done}) < _ENOUGH_FOR_IMPORTANCE or len(self.request.space) == 1:
            return {}
        asked_for = optuna.create_study(direction=self.study.direction)
        asked_for.add_trials(self.done)
        try:
            return optuna.importance.get_param_importances(
                asked_for, evaluator=optuna.importance.FanovaImportanceEvaluator(n_trees=32, seed=0)
            )
        except RuntimeError:  # no tree finds any difference
            return {}
