"""Models of changing options: nothing is read twice; and a real search."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from classifier.grid import PatchGrid
from testing.options import GRID
from testing.searches import CPU, check_report
from trainer.data.image_cache import PixelCache
from trainer.data.records import LabelledImage
from trainer.data.splits import make_splits
from trainer.experiments.training_data import read_training_data
from trainer.fitting.fitters import FinetuneFitter, FrozenFitter
from trainer.options import FitOptions
from trainer.search import search
from trainer.search.subsets import ALL_IMAGES

pytestmark = pytest.mark.usefixtures("torch_started")


class CountingCache(PixelCache):
    """A cache that counts the images read from it."""

    reads = 0

    def read(self, image: LabelledImage) -> np.ndarray:
        self.reads += 1
        return super().read(image)


def test_features_are_taken_along_to_other_options(tree: Path, tmp_path: Path) -> None:
    base = FitOptions(grid=PatchGrid(size=64, stride=160), folds=2)
    data = read_training_data(tree, base, cache=tmp_path)
    fitter = FrozenFitter(data, base, CPU, cache=tmp_path)
    split = make_splits(data.main, folds=2)[0]
    for changed in ({"c": 1e-2, "balance": "patient"}, {"test_time_flips": True}):
        other = base.replace(**changed)
        fresh = FrozenFitter(data, other, CPU, cache=tmp_path).out_of_fold(split)
        assert fitter.with_options(other).out_of_fold(split) == fresh
        assert fitter.out_of_fold(split) != fresh


def test_decoded_images_are_taken_along_to_other_options(tree: Path, tmp_path: Path) -> None:
    base = FitOptions(
        network="squeezenet", mode="scratch", grid=PatchGrid(size=64, stride=160), folds=2, epochs=1, draws=1
    )
    data = read_training_data(tree, base, cache=tmp_path)
    cache = CountingCache(None)
    fitter = FinetuneFitter(data, base, CPU, cache)
    other = base.replace(learning_rate=1e-2)
    split = make_splits(data.main, folds=2)[0]
    fresh = FinetuneFitter(data, other, CPU, PixelCache(None)).out_of_fold(split)
    assert fitter.with_options(other).out_of_fold(split) == fresh
    fitter.with_options(other)
    assert cache.reads == len(data.main)
    fitter.with_options(base.replace(grid=GRID)).out_of_fold(split)
    assert cache.reads == 2 * len(data.main)


def test_a_real_search_from_images_to_a_model(tree: Path, tmp_path: Path) -> None:
    base = FitOptions(grid=GRID, folds=2)
    found = search(tree, tmp_path / "out", base, CPU, trials=3, inner_folds=2, cache=tmp_path / "cache")
    assert found.results.honest is not None
    assert found.results.honest.searched["auc"].value > 0.9
    assert found.results.synthetic
    assert len(found.run.seconds[ALL_IMAGES]) == 3
    check_report(tmp_path / "out")
