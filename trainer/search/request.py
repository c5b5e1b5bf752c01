"""The parameters of a search, and what identifies its trials in the journal."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass

from trainer.data.tasks import TASKS
from trainer.experiments.option_checks import option_problems
from trainer.experiments.prepare import Experiment
from trainer.options import FitOptions
from trainer.search import space as spaces
from trainer.search.journal import Identity
from trainer.search.results import Objective
from trainer.search.space import Space
from trainer.search.subsets import Subset


@dataclass(frozen=True)
class Request:
    """The parameters of a search; see `trainer.search.run.search`."""

    base: FitOptions
    trials: int
    inner_folds: int
    objective: Objective
    space: Space

    def problems(self) -> Iterator[str]:
        """Yield one sentence for each reason why the search cannot work with any data."""
        yield from option_problems(self.base)
        if self.trials < 1:
            yield "A search needs at least one trial."
        if self.inner_folds < 0 or self.inner_folds == 1:
            yield "Inner cross-validation needs at least 2 folds, or 0 to leave one patient out at a time."
        if self.objective == "auc" and not TASKS[self.base.task].binary:
            yield "AUC ranks two classes; use the objective log_loss for the tumour types."
        yield from spaces.problems(self.base, self.space)

    def identity(self, subset: Subset, experiment: Experiment) -> Identity:
        """Return everything that the trials of a subset depend on, except their number."""
        splits = json.dumps([[split.train.tolist(), split.test.tolist()] for split in subset.inner])
        hardware = experiment.hardware
        used = [hardware.device, hardware.precision, hardware.compiled]
        return {
            "images": experiment.data.everything.identity,
            "options": self.base.model_dump(mode="json"),
            "search space": spaces.as_data(self.space),
            "objective": self.objective,
            "inner folds": self.inner_folds,
            "hardware": None if self.base.mode == "frozen" else used,
            "splits": hashlib.sha256(splits.encode()).hexdigest(),
        }
