"""A synthetic image for people who have none at hand."""

from __future__ import annotations

import io
import secrets
from typing import Literal

LABELS: tuple[Literal["benign", "malignant"], ...] = ("benign", "malignant")


def synthetic_png() -> tuple[str, bytes]:
    """A new synthetic micrograph of random architecture.

    Returns:
        A file name that says what it is, and the PNG file.
    """
    from trainer.synthetic import dataset

    seed = secrets.randbelow(1_000_000)
    label = secrets.choice(LABELS)
    encoded = io.BytesIO()
    dataset.sample(label, seed).save(encoded, "PNG")
    return f"synthetic-{label}-{seed}.png", encoded.getvalue()
