"""From patches to a verdict: plain arithmetic, without PyTorch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from classifier.grid import Box

Verdict = Literal["benign", "malignant"]

VOTE_THRESHOLD = 0.5
"""A patch votes malignant if its probability is above this number."""


class Vote(NamedTuple):
    """The vote of one patch: its place in the grid and in the image (in pixels), its probability and its class."""

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
    """The prediction of a model for one image.

    Attributes:
        verdict: Malignant if `malignant_share` is above `threshold`.
        malignant_share: The number of malignant votes divided by the number of patches, 0..1.
        threshold: The model's threshold, 0..1.
        malignant_probability: The calibrated probability, 0..1, from the mean of the patches' logits, not from votes.
        votes: The votes of all patches, row by row.
    """

    verdict: Verdict
    malignant_share: float
    threshold: float
    malignant_probability: float
    votes: list[Vote]

    def as_dict(self) -> dict[str, Any]:
        """Return the prediction as JSON-compatible data, as the command and the API output it."""
        return {**vars(self), "votes": [vote._asdict() for vote in self.votes]}


def malignant_share(votes: Sequence[Vote]) -> float:
    """Return the number of malignant votes divided by the number of votes."""
    return sum(vote.vote == "malignant" for vote in votes) / len(votes)


def verdict_of(share: float, threshold: float) -> Verdict:
    """Return `malignant` if the share is above the threshold."""
    return "malignant" if share > threshold else "benign"


def sigmoid(logit: float) -> float:
    """Return the logistic function of a logit, without overflow."""
    if logit >= 0:
        return 1 / (1 + math.exp(-logit))
    return math.exp(logit) / (1 + math.exp(logit))


def count(boxes: Sequence[Box], logits: Sequence[float], *, threshold: float, temperature: float) -> Prediction:
    """Count the votes of one image.

    Args:
        boxes: The places of the patches.
        logits: The malignant logit minus the benign one, for each patch.
        threshold: The malignant share above which the verdict is malignant.
        temperature: The divisor of the image's mean logit before it becomes a probability.

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
