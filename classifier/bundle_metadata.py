"""The metadata of a bundle, and the hashes of the patients and images that a model was trained on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from classifier.grid import PatchGrid
from classifier.imaging.normalisation import Normalisation

MODEL_NAME = "[a-z0-9][a-z0-9._-]{0,63}"
"""A regular expression that the whole name of a model matches."""

INTENDED_USE = "Research use only, not a diagnosis."
_SEEN_DIGITS = 16


class Seen(BaseModel):
    """The patients and images that a model was trained on, as hashes that reveal no name.

    A fair comparison of two models uses only images that neither model has seen.

    Attributes:
        patients: The `patient_hash` of every patient, sorted.
        images: The `image_hash` of every image, sorted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    patients: tuple[str, ...]
    images: tuple[str, ...]

    @classmethod
    def of(cls, patients: Iterable[str], images: Iterable[str]) -> Self:
        """Hash the names of patients and the pixel hashes of images, each once."""
        return cls(
            patients=tuple(sorted({patient_hash(patient) for patient in patients})),
            images=tuple(sorted({image_hash(sha256) for sha256 in images})),
        )


def patient_key(patient: str) -> str:
    """Return a patient's name in the form in which names are compared: case and amount of white space do not matter."""
    return " ".join(patient.split()).casefold()


def patient_hash(patient: str) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of a patient's `patient_key`."""
    return hashlib.sha256(patient_key(patient).encode()).hexdigest()[:_SEEN_DIGITS]


def image_hash(sha256: str) -> str:
    """Return the first 16 hexadecimal digits of an image's pixel hash."""
    return sha256[:_SEEN_DIGITS]


class BundleMetadata(BaseModel):
    """The content of a bundle's `metadata.json`.

    Attributes:
        name: The model's name; all versions of a model share it.
        network: A key of `classifier.networks.NETWORKS`.
        classes: The classes in the order of the logits: benign, malignant.
        grid: The grid that cuts images into patches.
        normalisation: The normalisation of the pixels.
        threshold: The malignant share above which the verdict is malignant, 0..1.
        temperature: The divisor of an image's mean logit before it becomes a probability.
        members: The number of networks whose logits are averaged.
        test_time_flips: Whether each patch's logits are averaged over the patch and its three mirror images.
        magnifications: The magnifications that the model was trained for, such as 40X.
        intended_use: A sentence that begins with `Research use only`.
        synthetic: Whether any training image was synthetic; then no verdict of the model means anything.
        metrics: The metrics and the protocol that they were measured by.
        data: Fingerprint, counts and citation of the training images.
        training: Seed, options, library versions, and source and licence of pretrained weights.
        seen: The patients and images of the training; None for bundles that do not record them.
        weights_sha256: The SHA-256 of `model.safetensors`, in hexadecimal.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    name: str = Field(pattern=f"^{MODEL_NAME}$")
    network: str
    classes: tuple[Literal["benign"], Literal["malignant"]] = ("benign", "malignant")
    grid: PatchGrid = PatchGrid()
    normalisation: Normalisation
    threshold: float = Field(ge=0, lt=1)
    temperature: float = Field(default=1.0, gt=0)
    members: int = Field(default=1, ge=1, le=32)
    test_time_flips: bool = False
    magnifications: tuple[str, ...] = ("40X",)
    intended_use: str = INTENDED_USE
    synthetic: bool = False
    metrics: dict[str, Any] = Field(default_factory=dict)
    data: dict[str, Any] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)
    seen: Seen | None = None
    weights_sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")

    @model_validator(mode="after")
    def _states_its_use(self) -> Self:
        if not self.intended_use.startswith("Research use only"):
            raise ValueError("intended_use must begin with 'Research use only'.")
        return self
