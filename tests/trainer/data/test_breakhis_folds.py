"""BreakHis's own fold lists, used as they are, and never without their warning."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainer.data.datasets import ImageDataset
from trainer.data.records import LabelledImage
from trainer.data.splits import make_splits, split_problems

SHARED = Path(__file__).parents[4] / "shared" / "data" / "breakhis-folds"


@pytest.fixture
def data() -> ImageDataset:
    names = [
        *(("B_A", "benign", "14-1", f"{n:03}") for n in range(1, 5)),
        *(("M_DC", "malignant", "14-2", f"{n:03}") for n in range(1, 5)),
    ]
    return ImageDataset(
        tuple(
            LabelledImage(Path(f"SOB_{code}-{patient}-40-{n}.jpg"), label, patient, sha256=f"{patient}{n}")
            for code, label, patient, n in names
        )
    )


def write(folder: Path, data: ImageDataset, tested: list[set[int]], extra: str = "") -> Path:
    for number, test in enumerate(tested, 1):
        rows = [
            f"{image.path.stem}.png|40|{number}|{'test' if index in test else 'train'}"
            for index, image in enumerate(data.images)
        ]
        text = "\n".join([*rows, "SOB_B_A-14-99-40-001.png|40|1|train", ""]) + extra
        (folder / f"dsfold{number}.txt").write_text(text, encoding="utf-8")
    return folder


def test_lists_are_used_as_they_are_and_leak(data: ImageDataset, tmp_path: Path) -> None:
    lists = write(tmp_path, data, [{0, 2, 4}, {0, 1, 5}])
    first, second = make_splits(data, "official", lists=lists)
    assert first.test.tolist() == [0, 2, 4]
    assert second.test.tolist() == [0, 1, 5]
    assert sorted([*first.train, *first.test]) == list(range(8))
    assert first.leaks_patients and second.leaks_patients
    assert first.name == "official fold 1"


def test_an_image_that_no_list_names_is_a_sentence(data: ImageDataset, tmp_path: Path) -> None:
    few = ImageDataset(data.images[:-1])
    lists = write(tmp_path, few, [{0, 4}])
    assert split_problems(data, "official", lists=lists) == ["Official fold 1 does not list SOB_M_DC-14-2-40-004.jpg."]


def test_a_fold_that_trains_on_one_class_is_a_sentence(data: ImageDataset, tmp_path: Path) -> None:
    lists = write(tmp_path, data, [{4, 5, 6, 7}, {0, 4}])
    assert split_problems(data, "official", lists=lists) == [
        "In official fold 1, the training images here have no malignant one."
    ]


def test_a_fold_may_test_one_class_alone(data: ImageDataset, tmp_path: Path) -> None:
    lists = write(tmp_path, data, [{0, 1}, {4, 2}, {5, 3}])
    assert split_problems(data, "official", lists=lists) == []


def test_a_list_alone_cannot_choose_its_threshold(data: ImageDataset, tmp_path: Path) -> None:
    (problem,) = split_problems(data, "official", lists=write(tmp_path, data, [{0, 4}]))
    assert "Give all five lists" in problem


def test_missing_and_broken_lists_are_sentences(data: ImageDataset, tmp_path: Path) -> None:
    assert "--fold-lists" in split_problems(data, "official")[0]
    assert "contains no dsfold1.txt" in split_problems(data, "official", lists=tmp_path)[0]
    lists = write(tmp_path, data, [{0, 4}], extra="SOB_B_A-14-1-40-001.png|40|1|perhaps\n")
    (problem,) = split_problems(data, "official", lists=lists)
    assert "dsfold1.txt, line 10" in problem
    with pytest.raises(ValueError, match="line 10"):
        make_splits(data, "official", lists=lists)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the official lists are not here")
def test_the_real_lists_are_read() -> None:
    from trainer.data import breakhis_folds

    lists = breakhis_folds.read(SHARED)
    assert len(lists) == 5
    assert {len(roles) for roles in lists} == {7909}
    assert {role for roles in lists for role in roles.values()} == {"train", "test"}
