"""What a bundle says of itself, and by which hashes it remembers what it was trained on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from classifier.grid import PatchGrid
from classifier.imaging.normalisation import Normalisation

MODEL_NAME = "[a-z0-9][a-z0-9._-]{0,63}"
"""What a model may be called: a regular expression that the whole name matches."""

INTENDED_USE = "Research use only, not a diagnosis."
_SEEN_DIGITS = 16


class Seen(BaseModel):
    """What a model was trained on, by hashes that say no name: who compares models keeps to what neither has seen.

    Attributes:
        patients: `patient_hash` of each, sorted.
        images: `image_hash` of each, sorted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    patients: tuple[str, ...]
    images: tuple[str, ...]

    @classmethod
    def of(cls, patients: Iterable[str], images: Iterable[str]) -> Self:
        """Hash patients' names and images' pixel hashes; what occurs twice is kept once."""
        return cls(
            patients=tuple(sorted({patient_hash(patient) for patient in patients})),
            images=tuple(sorted({image_hash(sha256) for sha256 in images})),
        )


def patient_key(patient: str) -> str:
    """A patient's name as names are compared: without regard to capitals and to how many blanks there are."""
    return " ".join(patient.split()).casefold()


def patient_hash(patient: str) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of a patient's `patient_key`."""
    return hashlib.sha256(patient_key(patient).encode()).hexdigest()[:_SEEN_DIGITS]


def image_hash(sha256: str) -> str:
    """The first 16 hexadecimal digits of an image's pixel hash."""
    return sha256[:_SEEN_DIGITS]


class BundleMetadata(BaseModel):
    """What a bundle says of itself.

    Attributes:
        name: Of the model; versions of one model share it.
        network: A key of `classifier.networks.NETWORKS`.
        classes: In the order of the logits; for this task benign, then malignant.
        grid: How images are cut.
        normalisation: Of the pixels.
        threshold: Share of malignant votes above which the verdict is malignant.
        members: Networks of the same kind whose logits are averaged.
        test_time_flips: Whether each patch's logits are averaged over its four mirrored variants.
        temperature: Divides an image's mean logit before it becomes a probability.
        magnifications: What the model was trained for, such as 40X.
        synthetic: True if any training image was synthetic: then no verdict of it means anything.
        metrics: Measured figures with the protocol that they were measured by.
        data: Of the training images: fingerprint, counts, citation.
        training: Seed, options, library versions, source and licence of pretrained weights.
        seen: Patients and images trained on; None where nobody wrote it down.
        weights_sha256: Of `model.safetensors`, in hexadecimal.
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
