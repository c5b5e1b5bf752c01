"""`python -m classifier`."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from classifier import bundle
from classifier.__main__ import main
from classifier.bundle import Bundle
from classifier.grid import PatchGrid
from testing.images import encode, noise


@pytest.fixture
def run(tiny_bundle: Bundle) -> Any:
    return lambda *args: CliRunner().invoke(main, ["--bundle", str(tiny_bundle.folder), *map(str, args)])


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "slide.png"
    path.write_bytes(encode(noise()))
    return path


def test_json_has_one_object_for_each_image_in_order(run: Any, image: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(image.read_bytes()[:3000])
    result = run("--json", image, broken, tmp_path / "missing.png", image)
    assert result.exit_code == 1
    good, bad, missing, again = json.loads(result.stdout)
    keys = {
        "file",
        "width",
        "height",
        "verdict",
        "malignant_share",
        "threshold",
        "malignant_probability",
        "model",
        "votes",
        "error",
    }
    assert all(set(entry) == keys for entry in (good, bad, missing, again))
    assert (good["width"], good["height"], len(good["votes"]), good["error"]) == (700, 460, 15, None)
    assert bad["error"]["code"] == "truncated" and bad["verdict"] is None and bad["votes"] == []
    assert missing["error"]["code"] == "unreadable"
    assert again["votes"] == good["votes"]


def test_an_image_smaller_than_the_models_patches_is_an_error_of_its_own(tiny_bundle: Bundle, tmp_path: Path) -> None:
    metadata = tiny_bundle.metadata.model_copy(update={"grid": PatchGrid(size=300, stride=150)})
    wide = bundle.save(tmp_path / "wide", tiny_bundle.module().state_dict(), metadata)
    small = tmp_path / "small.png"
    small.write_bytes(encode(noise(400, 299)))
    result = CliRunner().invoke(main, ["--bundle", str(wide.folder), "--json", str(small)])
    assert result.exit_code == 1
    assert json.loads(result.stdout)[0]["error"]["code"] == "too_small"


def test_text_names_verdict_and_votes(run: Any, image: Path) -> None:
    result = run(image)
    assert result.exit_code == 0
    assert "of 15 patches vote malignant" in result.stdout
    assert "Research use only" in result.stdout


def test_a_folder_that_is_no_bundle_is_said(tmp_path: Path, image: Path) -> None:
    result = CliRunner().invoke(main, ["--bundle", str(tmp_path), str(image)])
    assert result.exit_code == 2
    assert "not a bundle" in result.output


def test_without_images_the_usage_is_shown() -> None:
    assert CliRunner().invoke(main, []).exit_code == 2
