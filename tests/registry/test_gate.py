"""What stands against a promotion, rule by rule."""

from typing import Any

import pytest

from patchvote.registry.gate import Evidence, decide
from patchvote.registry.models import ModelVersion, Origin
from testing.registry import evidence

CHAMPION = ModelVersion(name="old", version=1, sha256="a" * 64, metadata={"synthetic": False})
CANDIDATE = ModelVersion(name="new", version=1, sha256="b" * 64, metadata={"synthetic": False})


def lost(value: float) -> dict[str, Any]:
    return {"sensitivity": {"value": -value, "low": -value - 0.03, "high": -value + 0.03}}


@pytest.mark.parametrize(
    ("said", "code", "words"),
    [
        (evidence(), "allowed", ""),
        (evidence(**lost(0.02)), "allowed", ""),
        (evidence(**lost(-0.3)), "allowed", ""),
        (evidence(**lost(50 / 50 - 49 / 50)), "allowed", ""),
        (evidence(**lost(0.0200001)), "less_sensitive", "at most 2.0 may be lost"),
        (evidence(synthetic=True), "synthetic_images", "they say nothing about tissue"),
        (evidence(synthetic=True, **lost(0.1)), "synthetic_images", "-10.0 percentage points"),
        (evidence(champion_seen_known=False), "allowed", ""),
        (evidence(specificity={"value": -0.5, "low": -0.6, "high": -0.4}), "allowed", ""),
        (None, "not_compared", "not compared with the champion, old v1"),
        (evidence(candidate="c" * 64), "not_compared", "not compared"),
        (evidence(champion="c" * 64), "not_compared", "a former champion"),
        (evidence(images=0, patients=0, benign=0, malignant=0), "no_unseen_images", "no image of a patient"),
        (evidence(patients=4), "too_few_patients", "4 patients only; it needs 5"),
        (evidence(patients=1), "too_few_patients", "1 patient only"),
        (evidence(benign=0, specificity=None, balanced_accuracy=None), "too_few_patients", "one class"),
        (evidence(malignant=0, sensitivity=None, balanced_accuracy=None), "too_few_patients", "one class"),
        (evidence(**lost(0.052)), "less_sensitive", "-5.2 percentage points (95 % interval -8.2 to -2.2), and at"),
        (evidence(**lost(0.021), patients=2), "less_sensitive", "2 patients only"),
        (evidence(candidate_seen_known=False), "seen_unknown", "not known what it was trained on"),
    ],
)  # fmt: skip
def test_rules(said: Evidence | None, code: str, words: str) -> None:
    decision = decide(CANDIDATE, said, champion=CHAMPION)
    assert (decision.code, decision.allowed, decision.needs_reason) == (code, code == "allowed", code != "allowed")
    assert words in decision.sentence


def test_without_a_champion_the_first_is_free() -> None:
    assert decide(CANDIDATE, None, champion=None).allowed


def test_the_champion_cannot_be_promoted_again() -> None:
    decision = decide(CHAMPION, None, champion=CHAMPION)
    assert (decision.code, decision.allowed, decision.needs_reason) == ("already_champion", False, False)


def test_a_model_of_synthetic_images_needs_a_reason() -> None:
    synthetic = ModelVersion(name="new", version=2, sha256="b" * 64, metadata={"synthetic": True})
    decision = decide(synthetic, evidence(), champion=CHAMPION)
    assert (decision.code, decision.needs_reason) == ("synthetic", True)
    assert "synthetic" in decide(synthetic, None, champion=CHAMPION).sentence


def test_what_an_upload_says_it_was_trained_on_is_called_a_claim() -> None:
    seen = {"synthetic": False, "seen": {"patients": 3, "images": 9}}
    for origin, metadata, claimed in [
        (Origin.UPLOAD, seen, True), (Origin.RUN, seen, False), (Origin.UPLOAD, {"synthetic": False}, False),
    ]:  # fmt: skip
        candidate = ModelVersion(name="new", version=1, sha256="b" * 64, metadata=metadata, origin=origin)
        assert candidate.seen_claimed == claimed
        decision = decide(candidate, evidence(), champion=CHAMPION)
        assert decision.allowed and ("as claimed by the uploader" in decision.sentence) == claimed


def test_the_margin_is_a_setting(settings: Any) -> None:
    settings.PROMOTION_SENSITIVITY_LOSS = 0.1
    assert decide(CANDIDATE, evidence(**lost(0.09)), champion=CHAMPION).allowed
    assert not decide(CANDIDATE, evidence(**lost(0.09)), champion=CHAMPION, margin=0.05).allowed


def test_evidence_comes_from_a_comparison_and_goes_to_json_and_back() -> None:
    rows = [
        {"measure": "sensitivity", "champion": 0.9, "candidate": 0.8, "difference": lost(0.1)["sensitivity"]},
        {"measure": "specificity", "champion": None, "candidate": None, "difference": None},
    ]
    result = {"images": 3, "patients": 2, "benign": 0, "malignant": 3, "measures": rows, "verdicts_differ": 1}
    made = Evidence.of(result, comparison="7", champion=CHAMPION, candidate=CANDIDATE, champion_seen_known=False)
    assert made.sensitivity is not None
    assert (made.sensitivity.value, made.specificity, made.patients) == (-0.1, None, 2)
    assert Evidence.model_validate(made.model_dump(mode="json")) == made
