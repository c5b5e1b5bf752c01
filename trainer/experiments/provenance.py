"""Provenance of a model or a study: its data, its first weights and the versions of the libraries."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Any

from classifier import networks
from trainer.data.datasets import ImageDataset
from trainer.data.records import from_breakhis_name
from trainer.fitting.fitters import TrainingData
from trainer.options import FitOptions

BREAKHIS_CITATION = (
    "Spanhol, Oliveira, Petitjean, Heutte: A Dataset for Breast Cancer Histopathological Image Classification. "
    "IEEE Transactions on Biomedical Engineering 63(7), 2016."
)
SYNTHETIC_CITATION = "Synthetic images made by trainer.synthetic: no patient is behind them."


def describe_data(data: TrainingData, citation: str = "") -> dict[str, Any]:
    """Return fingerprint, citation, notes and counts of the images.

    Args:
        data: The images.
        citation: Citation of the images; "" means the known one for BreakHis and for synthetic images.
    """
    everything = data.everything
    if not citation and everything.synthetic:
        citation = SYNTHETIC_CITATION
    elif not citation and all(from_breakhis_name(image.path) for image in everything.images):
        citation = BREAKHIS_CITATION
    return {
        "fingerprint": everything.fingerprint,
        "citation": citation or "unknown",
        "notes": list(data.main.notes),
        **_count(data.main),
        "auxiliary": _count(data.auxiliary),
    }


def describe_weights(options: FitOptions) -> str:
    """Return the origin of the network's first weights, in words."""
    return networks.spec(options.network).weights_source if options.pretrained else "random start"


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that the results depend on."""
    packages = ("patchvote", "torch", "torchvision", "timm", "scikit-learn", "numpy", "scipy", "pillow")
    return {"python": platform.python_version(), **{package: version(package) for package in packages}}


def _count(data: ImageDataset) -> dict[str, Any]:
    return {
        "images": len(data),
        "patients": len(set(data.patients)),
        **{label: int((data.labels == index).sum()) for index, label in enumerate(data.task.classes)},
    }
