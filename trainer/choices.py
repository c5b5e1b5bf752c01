"""The values of options that are chosen by name; forms import this module, so it needs neither SciPy nor PyTorch."""

from __future__ import annotations

from typing import Literal, get_args

Protocol = Literal["patient", "lopo", "thesis", "official"]
"""`patient`: folds by patient. `lopo`: one fold per patient. `thesis`: folds by image, so that patients leak.
`official`: BreakHis's own lists, with which cases leak."""

Balance = Literal["none", "class", "square_root", "patient"]
"""`none`: all images have equal weight. `class`: all classes have equal weight. `patient`: classes have equal weight,
and within a class all patients have. `square_root`: between the last two; a patient's weight within a class is the
square root of the number of their images."""

ThresholdRule = Literal["balanced_accuracy", "youden", "sensitivity", "thesis"]
"""`balanced_accuracy`: the best mean of sensitivity and specificity, both smoothed over a vote and a half. `youden`:
the best Youden index (sensitivity plus specificity minus one), not smoothed. `sensitivity`: the highest threshold with
a sensitivity of at least 95 %. `thesis`: always 0.90."""

THRESHOLD_RULES: tuple[ThresholdRule, ...] = get_args(ThresholdRule)
