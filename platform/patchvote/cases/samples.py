"""Synthetic samples, for users who have no image at hand."""

from __future__ import annotations

import io
import secrets
from typing import Literal

LABELS: tuple[Literal["benign", "malignant"], ...] = ("benign", "malignant")


def synthetic_png() -> tuple[str, bytes]:
    """Draw a synthetic micrograph of a random class and seed.

    Returns:
        A file name with the class and the seed, and the PNG data.
    """
    from trainer.synthetic import dataset

    seed = secrets.randbelow(1_000_000)
    label = secrets.choice(LABELS)
    encoded = io.BytesIO()
    dataset.sample(label, seed).save(encoded, "PNG")
    return f"synthetic-{label}-{seed}.png", encoded.getvalue()
