"""Nobody is trained on and tested on, unless the thesis's protocol says so aloud."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from testing.data_sets import listed, many
from trainer.choices import Protocol
from trainer.data.datasets import ImageDataset
from trainer.data.splits import LeakError, Split, make_splits, refuse_leaks


@pytest.mark.parametrize("protocol", ["patient", "lopo"])
def test_no_patient_is_on_both_sides(protocol: Protocol) -> None:
    data = many()
    for split in make_splits(data, protocol, folds=5, repeats=3):
        assert not set(data.patients[split.train]) & set(data.patients[split.test])
        assert not split.leaks_patients


@pytest.mark.parametrize(("protocol", "repeats", "tests"), [("patient", 3, 3), ("lopo", 1, 1), ("thesis", 2, 2)])
def test_every_image_is_tested_once_in_every_repeat(protocol: Protocol, repeats: int, tests: int) -> None:
    data = many()
    tested = np.concatenate([split.test for split in make_splits(data, protocol, folds=4, repeats=repeats)])
    assert np.bincount(tested).tolist() == [tests] * len(data)


def test_folds_hold_both_classes() -> None:
    data = many()
    for split in make_splits(data, "patient", folds=5):
        assert set(data.labels[split.test]) == {0, 1}


def test_leaving_one_out_tests_each_patient() -> None:
    data = many(patients=3)
    splits = make_splits(data, "lopo")
    assert [split.name for split in splits] == [f"patient {name}" for name in ("b0", "b1", "b2", "m0", "m1", "m2")]
    assert all(len(set(data.patients[split.test])) == 1 for split in splits)


def test_the_seed_decides() -> None:
    def tests(seed: int) -> list[list[int]]:
        return [split.test.tolist() for split in make_splits(many(), seed=seed)]

    assert tests(1) == tests(1)
    assert tests(1) != tests(2)


def test_repeats_are_different_folds() -> None:
    first, second = make_splits(many(), folds=2, repeats=2)[::2]
    assert first.test.tolist() != second.test.tolist()
    assert second.name == "fold 1 of 2, repeat 2"


def test_the_thesis_protocol_says_that_it_leaks() -> None:
    data = many()
    splits = make_splits(data, "thesis", folds=4)
    assert all(split.leaks_patients for split in splits)
    assert any(set(data.patients[split.train]) & set(data.patients[split.test]) for split in splits)


@pytest.mark.parametrize(
    ("protocol", "folds", "words"),
    [
        ("patient", 5, "5 folds need 5 patients of each class; the data set has only 2 benign"),
        ("lopo", 5, None),
        ("thesis", 7, "7 folds need 7 images of each class; the data set has only 4 benign"),
        ("patient", 1, "at least 2 folds"),
    ],
)
def test_too_few_is_a_sentence(protocol: Protocol, folds: int, words: str | None) -> None:
    data = listed(("benign", "b0", 2), ("benign", "b1", 2), *(("malignant", f"m{i}", 2) for i in range(6)))
    if words is None:
        assert len(make_splits(data, protocol, folds=folds)) == 8
        return
    with pytest.raises(ValueError, match=words):
        make_splits(data, protocol, folds=folds)


def test_leaving_one_out_needs_two_of_each_class() -> None:
    with pytest.raises(ValueError, match="needs 2 patients of each class; the data set has only 1 benign"):
        make_splits(listed(("benign", "b0", 5), ("malignant", "m0", 2), ("malignant", "m1", 2)), "lopo")


def split_of(train: list[int], test: list[int], *, leaks: bool = False) -> Split:
    return Split("fold 1", np.array(train), np.array(test), leaks_patients=leaks)


def test_a_patient_on_both_sides_is_refused() -> None:
    data = listed(("benign", "14-1", 2), ("malignant", "14-2", 2))
    with pytest.raises(LeakError, match="In fold 1, patient 14-1 is in training and in test"):
        refuse_leaks(data.images, split_of([0, 2], [1, 3][:1]))
    refuse_leaks(data.images, split_of([0, 2], [1], leaks=True))


def test_equal_pixels_on_both_sides_are_refused_under_every_protocol() -> None:
    data = listed(("benign", "p1", 1), ("benign", "p2", 1), ("malignant", "p3", 1))
    twins = ImageDataset((data.images[0], replace(data.images[1], sha256=data.images[0].sha256), data.images[2]))
    for leaks in (False, True):
        with pytest.raises(LeakError, match=r"equal pixels.*p1-0\.png, p2-0\.png"):
            refuse_leaks(twins.images, split_of([0, 2], [1], leaks=leaks))
