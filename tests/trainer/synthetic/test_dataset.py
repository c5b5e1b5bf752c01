"""Synthetic micrographs: repeatable, quick, without PyTorch, and told apart by their architecture."""

from __future__ import annotations

import functools
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from testing.data_sets import SMALL
from trainer.data.records import read_records
from trainer.synthetic.dataset import sample, write_tree


@functools.cache
def pixels(label: str, seed: int = 0, **options: object) -> np.ndarray:
    return np.asarray(sample(label, seed, **options))  # type: ignore[arg-type]


@pytest.mark.parametrize("label", ["benign", "malignant"])
def test_the_same_arguments_give_the_same_pixels(label: str) -> None:
    first, again, other = (np.asarray(sample(label, seed, SMALL)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.5


@pytest.mark.parametrize("size", [(700, 460), (225, 225), (1400, 1000), (31, 500), (1, 1)])
def test_any_size(size: tuple[int, int]) -> None:
    for label in ("benign", "malignant"):
        picture = sample(label, 1, size)
        assert (picture.size, picture.mode) == (size, "RGB")


def test_a_patients_images_share_the_stain_and_not_the_tissue() -> None:
    def colour(tissue: int, patient: int) -> np.ndarray:
        return np.median(pixels("benign", tissue, patient=patient, size=(350, 230)).reshape(-1, 3), axis=0)

    within = np.abs(colour(1, 7) - colour(2, 7)).mean()
    between = np.mean([np.abs(colour(1, 7) - colour(1, other)).mean() for other in range(8, 14)])
    assert within < between


def dark(label: str, seed: int) -> float:
    """The share of nuclear, dark pixels."""
    return float((pixels(label, seed)[:, :, 0] < 115).mean())


def lumina(label: str, seed: int) -> int:
    """Large bright openings."""
    bright = ndimage.binary_opening(pixels(label, seed).min(axis=2) > 190, iterations=5)
    return int(ndimage.label(bright)[1])


@pytest.mark.slow
def test_malignant_is_crowded_and_benign_has_lumina() -> None:
    seeds = range(5)
    assert min(dark("malignant", seed) for seed in seeds) > max(dark("benign", seed) for seed in seeds)
    assert np.mean([lumina("benign", seed) for seed in seeds]) > np.mean([lumina("malignant", seed) for seed in seeds])


def test_it_looks_like_stained_tissue() -> None:
    for label in ("benign", "malignant"):
        red, green, blue = pixels(label, 2).reshape(-1, 3).mean(axis=0)
        assert green < blue < 235
        assert green < red < 235


def test_a_sample_is_drawn_in_well_under_a_second() -> None:
    sample("benign")
    started = time.perf_counter()
    sample("malignant", 5)
    assert time.perf_counter() - started < 1


def test_drawing_does_not_load_pytorch() -> None:
    draw = "from trainer.synthetic.dataset import sample; sample('benign', size=(300, 300))"
    code = f"import sys; {draw}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("label", "size"), [("unsure", (300, 300)), ("benign", (0, 300))])
def test_nonsense_is_refused(label: str, size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"not one of|at least one pixel"):
        sample(label, size=size)


def test_a_tree_has_breakhis_names_and_is_marked(tmp_path: Path) -> None:
    assert write_tree(tmp_path / "tree", patients=2, images=2, size=SMALL) == 8
    records = read_records(tmp_path / "tree")
    assert records.synthetic
    assert not records.problems
    assert {(image.label, image.patient) for image in records.images} == {
        ("benign", "14-900001"),
        ("benign", "14-900002"),
        ("malignant", "14-900003"),
        ("malignant", "14-900004"),
    }
    path = records.images[0].path.relative_to(tmp_path / "tree")
    assert path.parts[:5] == ("histology_slides", "breast", "benign", "SOB", "adenosis")
    assert path.parts[6] == "40X"


def test_trees_of_one_seed_are_equal(tmp_path: Path) -> None:
    for name in ("first", "second"):
        write_tree(tmp_path / name, patients=1, images=1, seed=4, size=SMALL)
    first, second = (sorted((tmp_path / name).rglob("*.png")) for name in ("first", "second"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_a_tree_is_not_written_among_other_files(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(ValueError, match="is not empty"):
        write_tree(tmp_path)
    with pytest.raises(ValueError, match="at least one patient"):
        write_tree(tmp_path / "new", patients=0)
