"""From a folder of images to a bundle that predicts what was measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from classifier.bundle import SHIPPED, Bundle
from classifier.predictor import Predictor
from testing.data_sets import Write
from testing.options import FINETUNE, FROZEN, GRID
from trainer.data.datasets import load
from trainer.data.image_cache import decode_pixels
from trainer.data.records import DataSetError
from trainer.data.splits import make_splits
from trainer.errors import OptionsError
from trainer.experiments.fit import FitResult, fit
from trainer.experiments.provenance import BREAKHIS_CITATION, SYNTHETIC_CITATION
from trainer.experiments.training_data import read_training_data
from trainer.fitting.fitters import TrainingData
from trainer.options import FitOptions

pytestmark = pytest.mark.usefixtures("torch_started")


@pytest.fixture(scope="module")
def fitted(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> FitResult:
    folder = tmp_path_factory.mktemp("fit")
    return fit(tree, folder / "first-model", FROZEN, device="cpu", cache=folder / "cache")


def test_the_bundle_says_where_it_comes_from(fitted: FitResult, tree: Path) -> None:
    metadata = Bundle.load(fitted.bundle.folder).metadata
    assert metadata.name == "first-model"
    assert metadata.synthetic
    assert metadata.intended_use == "Research use only, not a diagnosis."
    assert metadata.grid == GRID
    assert metadata.data["fingerprint"] == load(tree).fingerprint
    assert metadata.data["citation"] == SYNTHETIC_CITATION
    assert (metadata.data["images"], metadata.data["patients"], metadata.data["benign"]) == (8, 8, 4)
    assert metadata.metrics["protocol"] == "patient"
    assert metadata.metrics["balanced_accuracy"]["value"] == pytest.approx(
        fitted.metrics.measures["balanced_accuracy"].value, abs=1e-4
    )
    assert FitOptions.model_validate(metadata.training["options"]) == FROZEN
    assert {"python", "torch", "timm"} <= set(metadata.training["versions"])
    assert "Apache-2.0" in metadata.training["weights"]
    assert metadata.threshold == fitted.out_of_fold.threshold("balanced_accuracy")


def test_it_tells_synthetic_tissue_apart(fitted: FitResult) -> None:
    assert fitted.metrics.measures["auc"].value > 0.9


def test_the_bundle_gives_calibrated_patches_and_votes(fitted: FitResult, tree: Path) -> None:
    data = load(tree)
    predictions = Predictor(fitted.bundle, device="cpu", precision="float32").predict(
        [decode_pixels(image) for image in data.images]
    )
    probabilities = np.array([prediction.malignant_probability for prediction in predictions])
    assert probabilities[data.labels == 1].min() > probabilities[data.labels == 0].max()
    assert [prediction.verdict == "malignant" for prediction in predictions] == (data.labels == 1).tolist()
    # The temperature is folded in: patches are not all close to one half, as a small C would leave them.
    votes = [vote.malignant_probability for prediction in predictions for vote in prediction.votes]
    assert np.ptp(votes) > 0.3
    assert fitted.bundle.metadata.temperature == 1


@pytest.mark.slow
def test_the_same_seed_gives_the_same_model(fitted: FitResult, tree: Path, tmp_path: Path) -> None:
    again = fit(tree, tmp_path / "first-model", FROZEN, device="cpu", cache=fitted.bundle.folder.parent / "cache")
    assert again.bundle.metadata.weights_sha256 == fitted.bundle.metadata.weights_sha256
    assert again.metrics == fitted.metrics


def test_a_network_is_fine_tuned(tree: Path, tmp_path: Path) -> None:
    tuned = fit(tree, tmp_path / "tuned", FINETUNE, device="cpu", cache=tmp_path)
    assert tuned.bundle.metadata.training["weights"] == "random start"
    assert tuned.metrics.predictions == 8
    prediction = Predictor(tuned.bundle, device="cpu", precision="float32").predict([np.zeros((230, 240, 3), np.uint8)])
    assert len(prediction[0].votes) == 16


def test_other_magnifications_are_trained_on_and_never_tested(small: Path, tmp_path: Path) -> None:
    options = FitOptions(grid=GRID, protocol="lopo", also=("100X",))
    metadata = fit(small, tmp_path / "both", options, device="cpu", cache=tmp_path).bundle.metadata
    assert metadata.data["auxiliary"] == {"images": 1, "patients": 1, "benign": 1, "malignant": 0}
    assert metadata.metrics["predictions"] == metadata.data["images"] == 16
    assert metadata.data["citation"] == "unknown"
    assert not metadata.synthetic


def test_auxiliary_images_of_a_tested_patient_are_left_out(small: Path) -> None:
    data = load(small)
    parts = TrainingData(
        data.subset(lambda image: image.magnification == "40X"),
        data.subset(lambda image: image.magnification == "100X"),
    )
    for split in make_splits(parts.main, "lopo"):
        extended = parts.extend(split)
        tested = set(parts.main.patients[split.test])
        trained = set(parts.everything.patients[extended.train])
        assert not trained & tested
        assert len(extended.train) == len(split.train) + ("b0" not in tested)
        np.testing.assert_array_equal(extended.test, split.test)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"network": "resnet9000"}, "There is no network 'resnet9000'"),
        ({"seeds": 2}, "no seeds to average"),
        ({"task": "subtype"}, "study --task subtype"),
        ({"network": "squeezenet"}, "SqueezeNet"),
        ({"also": ("100X",), "protocol": "thesis"}, "Folds that share patients"),
        ({"also": ("40X",)}, "own magnification"),
        ({"magnification": "41X"}, "41X is not a magnification"),
    ],
)
def test_options_that_cannot_work_are_refused_before_any_work(
    wrong: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(OptionsError, match=words):
        fit(tmp_path / "nowhere", tmp_path / "out", FROZEN.replace(**wrong), cache=tmp_path)


def test_all_wrong_options_are_named_at_once(tmp_path: Path) -> None:
    options = FitOptions(network="resnet9000", magnification="41X")
    with pytest.raises(OptionsError) as caught:
        fit(tmp_path / "nowhere", tmp_path, options, name="Ünfit name", cache=tmp_path)
    assert len(caught.value.problems) == 4
    assert "exists already" in caught.value.problems[0]


def test_a_data_set_without_the_models_magnification_is_refused(tmp_path: Path, tree: Path) -> None:
    with pytest.raises(DataSetError, match="no whole image at 200X"):
        fit(tree, tmp_path / "out", FROZEN.replace(magnification="200X"), cache=tmp_path)
    options = FROZEN.replace(magnification="200X", also=("40X",))
    with pytest.raises(DataSetError, match="no benign image at 200X"):
        fit(tree, tmp_path / "out", options, cache=tmp_path)


def test_the_shipped_model_is_ours() -> None:
    metadata = Bundle.load(SHIPPED).metadata
    assert metadata.name == "patchvote-40x"
    assert not metadata.synthetic
    assert metadata.data["citation"] == BREAKHIS_CITATION
    assert metadata.metrics["protocol"] == "lopo"
    assert metadata.metrics["balanced_accuracy"]["value"] >= 0.827
    assert metadata.metrics["auc"]["value"] >= 0.917
    assert sum(file.stat().st_size for file in SHIPPED.iterdir()) < 25_000_000
    assert "/" not in json.dumps(metadata.data["notes"])


@pytest.mark.slow
def test_the_shipped_model_was_made_of_the_shared_images(breakhis: Path, tmp_path: Path) -> None:
    shipped = Bundle.load(SHIPPED)
    options = FitOptions.model_validate(shipped.metadata.training["options"])
    data = read_training_data(breakhis, options, cache=tmp_path)
    assert shipped.metadata.data["fingerprint"] == data.everything.fingerprint
    some = data.main.images[::12]
    predictions = Predictor(shipped, device="cpu", precision="float32").predict(
        [decode_pixels(image) for image in some]
    )
    right = [prediction.verdict == image.label for prediction, image in zip(predictions, some, strict=True)]
    assert np.mean(right) > 0.85


def test_crops_are_trained_on_with_full_weight_and_never_tested(write: Write, tmp_path: Path) -> None:
    rows = [
        {"path": f"{label}{n}.png", "label": label, "patient": f"{label[0]}{n}", "magnification": "40X", "whole": "yes"}
        for label in ("benign", "malignant")
        for n in range(2)
    ]
    rows.append({**rows[0], "path": "crop.png", "patient": "b9", "whole": "no"})
    folder = write(rows)
    options = FitOptions(grid=GRID, protocol="lopo", crops=True)
    data = read_training_data(folder, options, cache=tmp_path / "cache")
    assert (len(data.main), len(data.auxiliary)) == (4, 1)
    assert not data.is_auxiliary.any()
    for split in make_splits(data.main, "lopo"):
        assert 4 in data.extend(split).train
    assert len(read_training_data(folder, options.replace(crops=False), cache=tmp_path / "cache").everything) == 4
