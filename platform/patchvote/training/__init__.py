"""Data sets, training runs, and comparisons of a new model with the one that serves."""
