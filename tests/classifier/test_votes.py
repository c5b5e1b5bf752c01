"""How votes become a verdict."""

import math

import pytest

from classifier.grid import COVER, Box
from classifier.votes import Vote, count, sigmoid, verdict_of

BOXES = COVER.boxes(700, 460)


def test_the_share_of_malignant_votes_is_the_verdict() -> None:
    prediction = count(BOXES, [2.0] * 14 + [-3.0], threshold=0.9, temperature=1)
    assert prediction.malignant_share == pytest.approx(14 / 15)
    assert prediction.verdict == "malignant"
    assert [vote.vote for vote in prediction.votes] == ["malignant"] * 14 + ["benign"]
    assert prediction.votes[0].malignant_probability == pytest.approx(sigmoid(2), abs=1e-4)
    assert prediction.malignant_probability == pytest.approx(sigmoid(25 / 15), abs=1e-4)


def test_a_share_equal_to_the_threshold_is_benign() -> None:
    assert verdict_of(0.6, 0.6) == "benign"
    assert count(BOXES, [1.0] * 9 + [-1.0] * 6, threshold=9 / 15, temperature=1).verdict == "benign"
    assert count(BOXES, [1.0] * 10 + [-1.0] * 5, threshold=9 / 15, temperature=1).verdict == "malignant"


def test_an_undecided_patch_votes_benign() -> None:
    assert count(BOXES[:1], [0.0], threshold=0.5, temperature=1).votes[0].vote == "benign"


def test_temperature_softens_the_probability_and_moves_no_vote() -> None:
    sharp = count(BOXES, [3.0] * 15, threshold=0.5, temperature=1)
    soft = count(BOXES, [3.0] * 15, threshold=0.5, temperature=4)
    assert 0.5 < soft.malignant_probability < sharp.malignant_probability
    assert soft.votes == sharp.votes


@pytest.mark.parametrize("logits", [[math.nan] * 15, [math.inf] + [0.0] * 14])
def test_numbers_that_are_none_are_an_error(logits: list[float]) -> None:
    with pytest.raises(ValueError, match="not a number"):
        count(BOXES, logits, threshold=0.5, temperature=1)


def test_no_patches_are_an_error() -> None:
    with pytest.raises(ValueError, match="without patches"):
        count([], [], threshold=0.5, temperature=1)


@pytest.mark.parametrize("logit", [-1000.0, 0.0, 1000.0])
def test_sigmoid_does_not_overflow(logit: float) -> None:
    assert 0 <= sigmoid(logit) <= 1


def test_a_vote_begins_with_its_box() -> None:
    assert Vote._fields[: len(Box._fields)] == Box._fields
