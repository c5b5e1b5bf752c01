"""The search for options: Optuna chooses them inside training patients, and patients it never saw measure that.

`run` is the door. Within: `space` says what can be searched, `request` what was asked for, `parts` whose images each
search may see; `journal` keeps the trials, `models` fits what they ask for, `objective` judges it, `trials` does those
of one part; `results` is what was found, as plain data, and `report` shows it, with `figures`.
"""

from trainer.search.run import Found, search
from trainer.search.space import space_for

__all__ = ["Found", "search", "space_for"]
