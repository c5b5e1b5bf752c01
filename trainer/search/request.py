"""What is asked of a search, and by what its journal is known again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass

from trainer.data.tasks import TASKS
from trainer.experiments import prepare
from trainer.fitting.fitters import TrainingData
from trainer.fitting.hardware import Hardware
from trainer.options import FitOptions
from trainer.search import space as spaces
from trainer.search.journal import Identity
from trainer.search.results import Objective
from trainer.search.space import Space
from trainer.search.subsets import Subset


@dataclass(frozen=True)
class Request:
    """What is asked of a search; see `trainer.search.run.search`."""

    base: FitOptions
    trials: int
    inner_folds: int
    objective: Objective
    space: Space

    def problems(self) -> Iterator[str]:
        """What cannot work, whatever the data: sentences, none where all is well."""
        yield from prepare.option_problems(self.base)
        if self.trials < 1:
            yield "A search needs at least one trial."
        if self.inner_folds < 0 or self.inner_folds == 1:
            yield "Inner cross-validation needs at least 2 folds, or 0 to leave one patient out at a time."
        if self.objective == "auc" and not TASKS[self.base.task].binary:
            yield "AUC ranks two classes; for the tumour types the objective is log_loss."
        yield from spaces.problems(self.base, self.space)

    def identity(self, part: Subset, data: TrainingData, machine: Hardware) -> Identity:
        """All that the trials of a part depend on, but for how many there are."""
        splits = json.dumps([[split.train.tolist(), split.test.tolist()] for split in part.inner])
        hardware = [machine.device, machine.precision, machine.compiled]
        return {
            "images": data.everything.identity,
            "options": self.base.model_dump(mode="json"),
            "search space": spaces.as_data(self.space),
            "objective": self.objective,
            "inner folds": self.inner_folds,
            "hardware": None if self.base.mode == "frozen" else hardware,
            "splits": hashlib.sha256(splits.encode()).hexdigest(),
        }
