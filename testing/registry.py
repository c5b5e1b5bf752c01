"""Evidence for promotions."""

from __future__ import annotations

from typing import Any

from patchvote.registry.gate import Evidence


def evidence(**changes: Any) -> Evidence:
    """Return a comparison of two equally good models, with changes."""
    level = {"value": 0.0, "low": -0.05, "high": 0.05}
    facts = {
        "comparison": "1", "champion": "a" * 64, "candidate": "b" * 64, "images": 100, "patients": 10, "benign": 40,
        "malignant": 60, "sensitivity": level, "specificity": level, "balanced_accuracy": level,
    }  # fmt: skip
    return Evidence.model_validate({**facts, **changes})
