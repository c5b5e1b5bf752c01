"""How a model is made: data sets, splits, fitting and metrics. Imports `classifier`; knows no Django."""
