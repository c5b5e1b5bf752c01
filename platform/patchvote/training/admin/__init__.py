"""Training in the admin: data sets, runs, and the page on which a model is compared and promoted."""

from patchvote.training.admin import comparisons, data_sets, runs

__all__ = ["comparisons", "data_sets", "runs"]
