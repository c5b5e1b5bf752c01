"""What options can be set to, by name; alone in this module, so that a form needs neither SciPy nor PyTorch."""

from __future__ import annotations

from typing import Literal, get_args

Protocol = Literal["patient", "lopo", "thesis", "official"]
"""`patient`: folds by patient. `lopo`: every patient is a fold. `thesis`: folds by image: patients leak. `official`:
BreakHis's own lists: cases leak."""

Balance = Literal["none", "class", "square_root", "patient"]
"""`none`: all images weigh the same. `class`: all classes do. `patient`: and within a class, all patients do.
`square_root`: between the two: within a class, patients weigh as the square root of the number of their images."""

ThresholdRule = Literal["balanced_accuracy", "youden", "sensitivity", "thesis"]
"""`balanced_accuracy`: the best mean of sensitivity and specificity, both smoothed over a vote and a half. `youden`:
the best index of Youden (sensitivity plus specificity minus one), as it is. `sensitivity`: the highest threshold that
still finds 95 % of the malignant images. `thesis`: 0.90, whatever the data."""

THRESHOLD_RULES: tuple[ThresholdRule, ...] = get_args(ThresholdRule)
