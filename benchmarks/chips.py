"""The peak performance of GPUs by their data sheets, without sparsity, which our networks do not have."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Chip:
    """The peak TFLOP/s of a chip by precision.

    Attributes:
        words: Words that all occur in the device name that PyTorch reports.
        peaks: The peaks by the names of `benchmarks.forward.PRECISIONS`.
        source: The data sheet.
    """

    words: tuple[str, ...]
    peaks: dict[str, float]
    source: str


def _peaks(float32: float, tf32: float, half: float) -> dict[str, float]:
    return {"float32": float32, "tf32": tf32, "float16": half, "bfloat16": half}


CHIPS = (
    Chip(("H200",), _peaks(67, 494.5, 989.5), "NVIDIA H200 Tensor Core GPU data sheet (SXM)"),
    Chip(("H100", "PCIe"), _peaks(51, 378, 756.5), "NVIDIA H100 Tensor Core GPU data sheet (PCIe)"),
    Chip(("H100",), _peaks(67, 494.5, 989.5), "NVIDIA H100 Tensor Core GPU data sheet (SXM)"),
    Chip(("A100",), _peaks(19.5, 156, 312), "NVIDIA A100 Tensor Core GPU data sheet"),
    Chip(("L40S",), _peaks(91.6, 183, 362), "NVIDIA L40S data sheet"),
    Chip(("L4",), _peaks(30.3, 60, 121), "NVIDIA L4 Tensor Core GPU data sheet"),
    Chip(("T4",), {"float32": 8.1, "float16": 65}, "NVIDIA T4 Tensor Core GPU data sheet"),
)
"""The known chips; the first one that matches a device counts."""


def find(name: str) -> Chip | None:
    """Return the chip with a device name; None if it is unknown."""
    return next((chip for chip in CHIPS if set(chip.words) <= set(re.split("[ -]", name))), None)
