"""The rules that make a verdict of patches: plain arithmetic, no PyTorch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from classifier.grid import Box

Verdict = Literal["benign", "malignant"]

VOTE_THRESHOLD = 0.5
"""A patch votes malignant when its probability is above this."""


class Vote(NamedTuple):
    """One patch's call: its place in the grid and the image (pixels), its probability and its vote."""

    row: int
    column: int
    x: int
    y: int
    width: int
    height: int
    malignant_probability: float
    vote: Verdict


@dataclass(frozen=True)
class Prediction:
    """What a model says of one image.

    Attributes:
        verdict: Malignant when `malignant_share` is above `threshold`.
        malignant_share: Votes for malignant over number of patches, 0..1.
        threshold: The model's, 0..1.
        malignant_probability: Calibrated, 0..1; from the mean of the patches' logits, not from the votes.
        votes: One for each patch, row by row.
    """

    verdict: Verdict
    malignant_share: float
    threshold: float
    malignant_probability: float
    votes: list[Vote]

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as the command and the API give it."""
        return {**vars(self), "votes": [vote._asdict() for vote in self.votes]}


def malignant_share(votes: Sequence[Vote]) -> float:
    """Votes for malignant over votes."""
    return sum(vote.vote == "malignant" for vote in votes) / len(votes)


def verdict_of(share: float, threshold: float) -> Verdict:
    """Malignant where the share exceeds the threshold."""
    return "malignant" if share > threshold else "benign"


def sigmoid(logit: float) -> float:
    """The logistic function, without overflow."""
    if logit >= 0:
        return 1 / (1 + math.exp(-logit))
    return math.exp(logit) / (1 + math.exp(logit))


def count(boxes: Sequence[Box], logits: Sequence[float], *, threshold: float, temperature: float) -> Prediction:
    """Count the votes of one image.

    Args:
        boxes: The patches' places.
        logits: For each patch the malignant logit minus the benign one.
        threshold: Share above which the verdict is malignant.
        temperature: Divides the mean logit of the image before it becomes a probability.

    Raises:
        ValueError: If there are no patches or a logit is not finite.
    """
    if not boxes:
        raise ValueError("An image without patches has no votes.")
    if not all(math.isfinite(logit) for logit in logits):
        raise ValueError("The network gave a logit that is not a number.")
    votes = []
    for box, logit in zip(boxes, logits, strict=True):
        probability = sigmoid(logit)
        vote: Verdict = "malignant" if probability > VOTE_THRESHOLD else "benign"
        votes.append(Vote(*box, malignant_probability=round(probability, 4), vote=vote))
    share = malignant_share(votes)
    return Prediction(
        verdict=verdict_of(share, threshold),
        malignant_share=share,
        threshold=threshold,
        malignant_probability=round(sigmoid(sum(logits) / len(logits) / temperature), 4),
        votes=votes,
    )
