"""Threshold and temperature."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from testing.data_sets import rng
from trainer.choices import THRESHOLD_RULES
from trainer.evaluation.calibration import UNSEEN_LOGIT, choose_threshold, fit_temperature, probabilities


def test_a_clear_gap_is_cut_in_its_middle() -> None:
    labels = np.array([0] * 10 + [1] * 10)
    shares = np.array([0.2] * 10 + [0.8] * 10)
    assert choose_threshold(labels, shares) == pytest.approx(0.5, abs=0.01)


def test_one_odd_image_does_not_move_the_threshold_to_its_side() -> None:
    labels = np.array([0] * 50 + [1] * 50)
    shares = np.concatenate([np.full(49, 0.2), [14 / 15], np.full(50, 0.8)])
    assert choose_threshold(labels, shares) == pytest.approx(0.5, abs=0.03)


def test_classes_weigh_the_same_whatever_their_numbers() -> None:
    random = rng()
    benign, malignant = random.beta(2, 4, 2000), random.beta(4, 2, 2000)
    few = choose_threshold(np.repeat([0, 1], [200, 2000]), np.concatenate([benign[:200], malignant]))
    even = choose_threshold(np.repeat([0, 1], 2000), np.concatenate([benign, malignant]))
    assert few == pytest.approx(even, abs=0.06)


def test_the_sensitivity_rule_finds_95_percent_at_the_highest_threshold() -> None:
    labels = np.array([0] * 50 + [1] * 100)
    shares = np.concatenate([np.full(50, 0.1), np.linspace(0.01, 1, 100)])
    threshold = choose_threshold(labels, shares, "sensitivity")
    assert (shares[labels == 1] > threshold).mean() >= 0.95
    assert (shares[labels == 1] > threshold + 0.02).mean() < 0.95


def test_the_sensitivity_rule_goes_down_to_zero() -> None:
    assert choose_threshold(np.array([0, 1, 1]), np.array([0.5, 0.0, 0.0]), "sensitivity") == 0


def test_the_thesis_rule_is_90_percent() -> None:
    assert choose_threshold(np.array([0, 1]), np.array([0.0, 1.0]), "thesis") == 0.90


@pytest.mark.parametrize("rule", THRESHOLD_RULES)
def test_a_threshold_can_be_exceeded_and_is_a_share(rule: str) -> None:
    random = rng(5)
    for _ in range(20):
        labels = np.array([0, 1, *random.integers(0, 2, 20)])
        threshold = choose_threshold(labels, random.integers(0, 16, 22) / 15, rule)  # type: ignore[arg-type]
        assert 0 <= threshold < 1


def test_a_threshold_needs_both_classes() -> None:
    with pytest.raises(ValueError, match="both classes"):
        choose_threshold(np.array([1, 1]), np.array([0.2, 0.4]))


@pytest.mark.parametrize("true", [0.05, 0.5, 1.0, 4.0])
def test_the_temperature_is_found_again(true: float) -> None:
    random = rng(1)
    calibrated = random.normal(0, 2, 20000)
    labels = (random.random(20000) < expit(calibrated)).astype(int)
    logits = np.stack([-calibrated / 2, calibrated / 2], axis=1)
    temperature = fit_temperature(labels, logits * true)
    assert temperature == pytest.approx(true, rel=0.05)
    assert probabilities(logits * true, temperature)[:, 1] == pytest.approx(expit(calibrated), abs=0.03)


def test_youdens_index_is_taken_as_it_is() -> None:
    random = rng(3)
    labels = np.arange(200) % 2
    shares = np.clip(np.round((random.normal(0.4, 0.2, 200) + 0.25 * labels) * 15), 0, 15) / 15
    threshold = choose_threshold(labels, shares, "youden")

    def index(at: float) -> float:
        return (shares[labels == 1] > at).mean() - (shares[labels == 0] > at).mean()

    assert index(threshold) == max(index(at) for at in np.linspace(0, 0.999, 1000))


def test_tiny_logits_get_a_tiny_temperature() -> None:
    random = rng(2)
    calibrated = random.normal(0, 2, 5000)
    labels = (random.random(5000) < expit(calibrated)).astype(int)
    logits = np.stack([-calibrated / 2, calibrated / 2], axis=1)
    assert fit_temperature(labels, logits * 1e-6) == pytest.approx(1e-6, rel=0.1)


def test_images_of_a_class_that_was_never_learnt_do_not_count() -> None:
    random = rng(4)
    labels = np.arange(300) % 3
    logits = random.normal(0, 1, (300, 3)) + 2 * np.eye(3)[labels]
    logits[:, 2] = UNSEEN_LOGIT
    without = labels < 2
    expected = fit_temperature(labels[without], logits[without])
    assert fit_temperature(labels, logits) == pytest.approx(expected, rel=1e-3)
