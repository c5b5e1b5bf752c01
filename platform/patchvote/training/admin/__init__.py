"""Admin pages of data sets, training runs and comparisons."""

from patchvote.training.admin import comparisons, data_sets, runs

__all__ = ["comparisons", "data_sets", "runs"]
