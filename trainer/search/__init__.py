"""The search for options: Optuna chooses them on training patients, and other patients measure the choice.

`run` is the entry point. `space` defines what can be searched, `request` holds the parameters of a search, and
`subsets` defines the images that each search may see. `journal` stores the trials, `models` fits the models that they
need, `objective` scores them, and `trials` runs the trials of one subset. `results` holds the results as plain data,
`nested` measures the nested search, and `report` shows both, with `plots`.
"""

from trainer.search.run import FinishedSearch, search
from trainer.search.space import space_for

__all__ = ["FinishedSearch", "search", "space_for"]
