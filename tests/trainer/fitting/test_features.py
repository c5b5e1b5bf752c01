"""Frozen features are computed once for each image, and by content."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from classifier import networks
from classifier.grid import PatchGrid
from classifier.imaging.patches import cut
from trainer.data.datasets import ImageDataset, load
from trainer.data.image_cache import decode_pixels
from trainer.fitting.features import PatchFeatures, extract, shrink
from trainer.synthetic.dataset import sample

pytestmark = pytest.mark.usefixtures("torch_started")

NETWORK = "efficientnet_lite0"
GRID = PatchGrid(size=112, stride=112)


@pytest.fixture
def data(small: Path) -> ImageDataset:
    return load(small)


def test_they_are_what_the_last_layer_reads(data: ImageDataset, tmp_path: Path) -> None:
    found = extract(data, NETWORK, grid=GRID, cache=tmp_path / "cache")
    pixels = decode_pixels(data.images[2])
    patches = cut(pixels, GRID.boxes(width=pixels.shape[1], height=pixels.shape[0]))
    module = networks.create(NETWORK, weights="imagenet")
    with torch.inference_mode():
        inputs = networks.spec(NETWORK).normalisation.apply(patches)
        expected = networks.features(module, NETWORK, inputs).numpy()
        logits = module(inputs)
        again = networks.head(module, NETWORK)(torch.from_numpy(found.values[found.image == 2]))
    np.testing.assert_allclose(found.values[found.image == 2], expected, atol=1e-3)
    torch.testing.assert_close(again, logits, atol=1e-3, rtol=1e-3)


def test_a_second_run_computes_nothing(data: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = extract(data, NETWORK, grid=GRID, cache=tmp_path / "cache")

    def refuse(*_: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(networks, "features", refuse)
    second = extract(data, NETWORK, grid=GRID, cache=tmp_path / "cache")
    np.testing.assert_array_equal(first.values, second.values)
    # Another grid, and another look of the 100X image, are other features.
    with pytest.raises(AssertionError, match="computed again"):
        extract(data, NETWORK, grid=PatchGrid(size=112, stride=50), cache=tmp_path / "cache")
    with pytest.raises(AssertionError, match="computed again"):
        extract(data, NETWORK, grid=GRID, cache=tmp_path / "cache", magnification="40X")


def test_a_damaged_file_of_the_cache_is_made_again(data: ImageDataset, tmp_path: Path) -> None:
    first = extract(data, NETWORK, grid=GRID, cache=tmp_path / "cache")
    files = sorted((tmp_path / "cache").rglob("*.npy"))
    assert len(files) == len(data)
    files[0].write_bytes(files[0].read_bytes()[:100])
    files[1].write_bytes(b"")
    second = extract(data, NETWORK, grid=GRID, cache=tmp_path / "cache")
    np.testing.assert_array_equal(first.values, second.values)


def test_means_are_over_each_images_patches() -> None:
    found = PatchFeatures(np.array([[1, 2], [3, 4], [10, 20]], np.float32), np.array([0, 0, 1]))
    np.testing.assert_array_equal(found.image_means(), [[2, 3], [10, 20]])


@pytest.mark.parametrize(
    ("magnification", "size"),
    [("100X", (342, 225)), ("200X", (342, 225)), ("40X", (700, 460)), ("", (700, 460))],
)
def test_an_image_shrinks_as_far_as_a_patch_allows(magnification: str, size: tuple[int, int]) -> None:
    pixels = np.asarray(sample("benign", 0, (700, 460)))
    height, width = shrink(pixels, magnification, "40X", 225).shape[:2]
    assert (width, height) == size


def test_a_large_image_shrinks_by_its_magnification() -> None:
    pixels = np.zeros((1000, 2000, 3), np.uint8)
    assert shrink(pixels, "100X", "40X", 225).shape == (400, 800, 3)
