"""Bundles are whole and unchanged, or refused."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from classifier import bundle, networks
from classifier.bundle import Bundle, BundleError, BundleMetadata, Seen, patient_hash, patient_key


@pytest.fixture
def copied(tiny_bundle: Bundle, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return bundle.copy(tiny_bundle, tmp_path / "copy").folder


def test_what_was_saved_is_loaded(tiny_bundle: Bundle) -> None:
    loaded = Bundle.load(tiny_bundle.folder)
    assert loaded == tiny_bundle
    assert not loaded.module().training
    assert {file.name for file in loaded.folder.iterdir()} == {"model.safetensors", "metadata.json"}


def test_a_bundle_is_never_overwritten(tiny_bundle: Bundle) -> None:
    with pytest.raises(BundleError, match="never change"):
        bundle.save(tiny_bundle.folder, {}, tiny_bundle.metadata)


def test_a_failed_save_leaves_nothing(tmp_path: Path, tiny_bundle: Bundle) -> None:
    shared = torch.zeros(10)
    with pytest.raises(RuntimeError):  # safetensors refuses tensors that share memory
        bundle.save(tmp_path / "new", {"a": shared, "b": shared[:5]}, tiny_bundle.metadata)
    assert list(tmp_path.iterdir()) == []


def test_changed_weights_are_refused(copied: Path) -> None:
    weights = bytearray((copied / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copied / "model.safetensors").write_bytes(weights)
    with pytest.raises(BundleError, match="not the ones"):
        Bundle.load(copied)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"threshold": 1.5}, "threshold"),
        ({"temperature": 0}, "temperature"),
        ({"network": None}, "network"),
        ({"surprise": 1}, "surprise"),
        ({"name": "../up"}, "name"),
        ({"intended_use": "Diagnosis"}, "Research use only"),
        ({"classes": ["malignant", "benign"]}, "classes"),
    ],
)
def test_metadata_that_is_not_valid_is_refused_by_name(copied: Path, change: dict[str, Any], sentence: str) -> None:
    path = copied / "metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(BundleError, match=sentence):
        Bundle.load(copied)


@pytest.mark.parametrize("name", ["model.safetensors", "metadata.json"])
def test_a_missing_file_is_refused(copied: Path, name: str) -> None:
    (copied / name).unlink()
    with pytest.raises(BundleError, match="not a bundle"):
        Bundle.load(copied)


def test_metadata_with_a_nul_is_refused(copied: Path) -> None:
    path = copied / "metadata.json"
    path.write_text(path.read_text().replace("Research use only", "Research use only\\u0000", 1))
    with pytest.raises(BundleError, match="NUL"):
        Bundle.load(copied)


def test_metadata_that_is_no_json_is_refused(copied: Path) -> None:
    (copied / "metadata.json").write_text("{")
    with pytest.raises(BundleError, match="not valid"):
        Bundle.load(copied)


def test_weights_of_another_network_are_refused(tmp_path: Path, tiny_bundle: Bundle) -> None:
    other = networks.create("shufflenet_v2").state_dict()
    wrong = bundle.save(tmp_path / "wrong", other, tiny_bundle.metadata)
    with pytest.raises(BundleError, match="do not fit"):
        wrong.module()


def test_an_unknown_network_is_refused(tmp_path: Path, tiny_bundle: Bundle) -> None:
    metadata = tiny_bundle.metadata.model_copy(update={"network": "resnet19"})
    with pytest.raises(BundleError, match="resnet19"):
        bundle.save(tmp_path / "unknown", tiny_bundle.module().state_dict(), metadata).module()


def test_the_identity_covers_the_metadata(tmp_path: Path, tiny_bundle: Bundle) -> None:
    metadata: BundleMetadata = tiny_bundle.metadata.model_copy(update={"threshold": 0.4})
    other = bundle.save(tmp_path / "other", tiny_bundle.module().state_dict(), metadata)
    assert other.metadata.weights_sha256 == tiny_bundle.metadata.weights_sha256
    assert other.sha256 != tiny_bundle.sha256


def test_the_shipped_bundle_is_sound_and_small() -> None:
    shipped = Bundle.load(bundle.SHIPPED)
    assert sum(file.stat().st_size for file in shipped.folder.iterdir()) <= 25 * 1024 * 1024
    assert not shipped.metadata.synthetic
    assert "Spanhol" in json.dumps(shipped.metadata.data)
    assert shipped.metadata.metrics
    shipped.module()


def test_a_patient_is_the_same_however_the_name_is_written() -> None:
    written = ["B-1 Straße", " b-1  STRASSE ", "b-1\tstraße\n"]
    assert {patient_key(name) for name in written} == {"b-1 strasse"}
    assert len(Seen.of(written, []).patients) == 1
    assert patient_hash("b-1") != patient_hash("b-11") != patient_hash("b 11")


def test_the_shipped_bundle_says_whose_images_it_saw(breakhis: Path) -> None:
    seen = Bundle.load(bundle.SHIPPED).metadata.seen
    assert seen is not None
    files = [re.fullmatch(r"SOB_[BM]_[A-Z]+-(\d+-\d+)[A-Z]*-40-\d+", path.stem) for path in breakhis.rglob("*.jpg")]
    names = {found[1] for found in files if found}
    assert len(names) > 20
    assert {patient_hash(name) for name in names} <= set(seen.patients)
