"""Checks of a fit's options that need no data, made before any image is read."""

from __future__ import annotations

import re
from collections.abc import Sequence

from classifier import networks
from classifier.bundle import MODEL_NAME
from trainer.errors import OptionsError
from trainer.fitting import hardware
from trainer.fitting.hardware import Hardware, Precision
from trainer.options import FitOptions, contradictions


def option_problems(options: FitOptions) -> list[str]:
    """Return one sentence for each reason why the options cannot work with any data."""
    unknown = f"There is no network {options.network!r}. The networks are: {', '.join(networks.NETWORKS)}."
    return ([] if options.network in networks.NETWORKS else [unknown]) + contradictions(options)


def check_fit(
    name: str,
    options: FitOptions,
    device: str,
    precision: Precision = "auto",
    *,
    problems: Sequence[str] = (),
) -> Hardware:
    """Check everything that a fit needs besides the data, and return its hardware.

    Args:
        name: Name of the model.
        options: Options of the fit.
        device: `auto`, or a device in PyTorch's notation.
        precision: Number format of the networks that are trained.
        problems: Problems that are known already; they are reported with the others.

    Raises:
        OptionsError: If anything is wrong; it lists all problems.
    """
    all_problems = list(problems)
    if not re.fullmatch(MODEL_NAME, name):
        all_problems.append(f"{name!r} is not a valid model name: use lower-case letters, digits, '.', '_' and '-'.")
    if options.task != "malignancy":
        all_problems.append("A bundle tells benign from malignant; for the tumour types use `study --task subtype`.")
    all_problems += option_problems(options)
    chosen = None
    try:
        chosen = hardware.choose(device, precision)
    except ValueError as error:
        all_problems.append(str(error))
    if all_problems or chosen is None:
        raise OptionsError(all_problems)
    return chosen
