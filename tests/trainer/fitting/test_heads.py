"""A linear head learns, weighs and folds into its network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from classifier import networks
from testing.data_sets import rng
from trainer.fitting.heads import TrainingTable, fit_head, sample_weights


def table(count: int = 60, width: int = 8, balance: str = "class") -> TrainingTable:
    random = rng()
    labels = (np.arange(count) % 3 > 0).astype(np.int64)
    features = random.normal(0, 1, (count, width)) * np.arange(1, width + 1) + 5
    features[:, 2] += 4 * labels
    patients = np.array([f"{label}-{number % 5}" for number, label in enumerate(labels)])
    return TrainingTable(features, labels, patients, np.zeros(count, bool), balance=balance)  # type: ignore[arg-type]


@pytest.mark.parametrize("width", [8, 200])
def test_it_is_logistic_regression_on_standardised_features(width: int) -> None:
    rows = table(width=width)
    scaler = StandardScaler().fit(rows.features)
    model = LogisticRegression(C=0.01, class_weight="balanced", max_iter=1000)
    expected = model.fit(scaler.transform(rows.features), rows.labels).decision_function(
        scaler.transform(rows.features)
    )
    logits = fit_head(rows, c=0.01).logits(rows.features)
    np.testing.assert_allclose(logits[:, 1] - logits[:, 0], expected, atol=2e-3)


def test_it_is_multinomial_regression_for_more_classes() -> None:
    rows = table()
    rows = replace(rows, labels=np.arange(60) % 3, balance="none")
    features = StandardScaler().fit_transform(rows.features)
    expected = LogisticRegression(C=0.1, max_iter=1000).fit(features, rows.labels).predict_log_proba(features)
    found = log_softmax(fit_head(rows, c=0.1, classes=3).logits(rows.features), axis=1)
    np.testing.assert_allclose(found, expected, atol=5e-3)


def test_a_class_without_training_images_is_never_predicted() -> None:
    head = fit_head(table(), c=0.1, classes=4)
    logits = head.logits(table().features)
    assert logits.shape == (60, 4)
    assert logits[:, 2:].max() < logits[:, :2].min()


def test_without_balance_all_images_weigh_the_same() -> None:
    rows = replace(table(), balance="none")
    np.testing.assert_allclose(rows.weights, 1)


def test_a_constant_feature_does_no_harm() -> None:
    rows = table()
    rows.features[:, 0] = 7
    assert np.isfinite(fit_head(rows, c=0.01).logits(rows.features)).all()


def test_classes_weigh_the_same() -> None:
    rows = table()
    assert rows.weights.sum() == pytest.approx(60)
    assert rows.weights[rows.labels == 0].sum() == pytest.approx(30)


def test_patients_weigh_the_same_within_a_class() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1])
    patients = np.array(["a", "a", "a", "b", "c", "c"])
    weights = sample_weights(labels, patients, np.zeros(6, bool), auxiliary_weight=0, balance="patient")
    np.testing.assert_allclose(weights, [0.5, 0.5, 0.5, 1.5, 1.5, 1.5])
    weights = sample_weights(labels, patients, np.zeros(6, bool), auxiliary_weight=0, balance="square_root")
    assert [weights[:3].sum() / weights[3], weights[4] / weights[5]] == pytest.approx([np.sqrt(3), 1])
    assert weights[:4].sum() == pytest.approx(3)


def test_auxiliary_images_get_their_share() -> None:
    labels = np.array([0, 0, 0, 1, 1])
    auxiliary = np.array([False, True, True, False, False])
    weights = sample_weights(labels, np.array(list("abcde")), auxiliary, auxiliary_weight=0.1, balance="class")
    assert weights.sum() == pytest.approx(5)
    assert weights[:3] == pytest.approx([2.25, 0.125, 0.125])
    assert weights[3:] == pytest.approx([1.25, 1.25])


def test_a_class_with_auxiliary_images_only_still_counts() -> None:
    auxiliary = np.array([True, False])
    weights = sample_weights(np.array([0, 1]), np.array(["a", "b"]), auxiliary, auxiliary_weight=0.1, balance="class")
    assert weights == pytest.approx([1, 1])


@pytest.mark.parametrize("network", ["efficientnet_lite0", "resnet18"])
def test_a_folded_network_gives_the_heads_logits(network: str) -> None:
    torch.manual_seed(0)
    module = networks.create(network)
    batch = torch.randn(5, 3, 64, 64)
    with torch.inference_mode():
        features = networks.features(module, network, batch).double().numpy()
        rows = TrainingTable(features, np.array([0, 1, 0, 1, 1]), np.array(list("abcde")), np.zeros(5, bool))
        head = fit_head(rows, c=1.0)
        head.fold_into(networks.head(module, network))
        logits = module(batch)
    np.testing.assert_allclose(logits.numpy(), head.logits(features), atol=1e-4)
