"""What a trial is worth: log loss or AUC of its pooled predictions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import log_loss, roc_auc_score

from testing.data_sets import listed, rng
from testing.report_pages import check_page
from testing.searches import BASE, Fake, run
from trainer.data.datasets import ImageDataset
from trainer.data.tasks import TASKS
from trainer.search.objective import score_predictions


def test_the_log_loss_weighs_classes_alike_and_forgives_the_scale() -> None:
    labels = np.repeat([0, 1, 2], [4, 6, 2])
    logits = rng(3).normal(0, 1, (12, 3)) + np.eye(3)[labels]
    loss = score_predictions("log_loss", labels, logits)
    for scale in (1e-4, 1e3):
        assert score_predictions("log_loss", labels, logits * scale) == pytest.approx(loss, abs=1e-9)
    # Every image of the first class five times: nothing changes.
    rows = np.concatenate([np.repeat(np.arange(4), 5), np.arange(4, 12)])
    assert score_predictions("log_loss", labels[rows], logits[rows]) == pytest.approx(loss)
    # One image five times: it decides more, whoever's it is.
    assert score_predictions(
        "log_loss", np.append(labels, [0] * 4), np.vstack([logits, logits[[0] * 4]])
    ) != pytest.approx(loss)
    weights = 1 / 3 / np.repeat([4, 6, 2], [4, 6, 2])
    losses = [
        log_loss(labels, softmax(logits * sharper, axis=1), sample_weight=weights)
        for sharper in np.geomspace(0.01, 9, 999)
    ]
    assert loss == pytest.approx(min(losses), rel=1e-4)
    assert score_predictions("log_loss", labels, np.zeros((12, 3))) == pytest.approx(np.log(3))


def test_auc_is_scikit_learns() -> None:
    labels = np.repeat([0, 1], [6, 14])
    logits = rng(1).normal(0, 1, (20, 2)) + np.eye(2)[labels]
    assert score_predictions("auc", labels, logits) == pytest.approx(roc_auc_score(labels, logits[:, 1] - logits[:, 0]))


def test_eight_types_are_searched_by_log_loss(fake: Fake, tmp_path: Path) -> None:
    subtypes = TASKS["subtype"].classes
    rows = [(label, f"{label}{number}", 2) for label in subtypes for number in range(3)]
    images = [
        replace(image, label="benign" if at < len(rows) else "malignant", subtype=image.label)
        for at, image in enumerate(listed(*rows).images)
    ]
    fake(ImageDataset(tuple(images), TASKS["subtype"]))
    found = run(tmp_path, BASE.replace(task="subtype"), inner_folds=2).results
    assert found.honest is not None
    assert set(found.honest.searched) == {"accuracy", "balanced_accuracy", "patient_score", "ece"}
    check_page((tmp_path / "search.html").read_text())
