"""A data set is checked to the last pixel, and everything that is wrong is said at once."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from testing.data_sets import Write, write_small_tree
from trainer.data.datasets import ImageDataset, load
from trainer.data.image_cache import decode_pixels
from trainer.data.records import DataSetError
from trainer.data.tasks import TASKS
from trainer.synthetic.dataset import sample


def problems_of(source: Path, **options: object) -> list[str]:
    with pytest.raises(DataSetError) as caught:
        load(source, **options)  # type: ignore[arg-type]
    return caught.value.problems


def two(**more: str) -> list[dict[str, str]]:
    return [
        {"path": "a.png", "label": "benign", "patient": "p1", **more},
        {"path": "b.png", "label": "malignant", "patient": "p2", **more},
    ]


def test_a_manifest_becomes_a_data_set(small: Path) -> None:
    data = load(small, magnifications=("40X",))
    assert len(data) == 16
    assert data.labels.sum() == 8
    assert len(set(data.patients)) == 8
    assert not data.synthetic
    assert data.summary() == "16 images: 8 benign of 4 patients, 8 malignant of 4 patients"
    assert all(len(image.sha256) == 64 for image in data.images)


def test_pixels_are_those_of_the_file(small: Path) -> None:
    image = load(small).images[0]
    np.testing.assert_array_equal(decode_pixels(image), np.asarray(Image.open(image.path)))


def test_a_file_that_changed_since_is_refused(small: Path) -> None:
    image = load(small).images[0]
    sample("benign", 99, (240, 230)).save(image.path)
    with pytest.raises(DataSetError, match="has changed"):
        decode_pixels(image)


def test_magnifications_are_selected(small: Path) -> None:
    assert {image.magnification for image in load(small).images} == {"40X", "100X"}
    (problem,) = problems_of(small, magnifications=("200X",))
    assert problem == "The data set has no whole image at 200X; it has 40X (16), 100X (1)."
    assert problems_of(small, magnifications=("100X",)) == [
        "The data set has no malignant image; both classes are needed."
    ]


def test_unknown_magnifications_are_taken_as_wanted(write: Write) -> None:
    data = load(write(two()), magnifications=("40X",))
    assert len(data) == 2
    assert data.notes == ("No image states its magnification: all are taken to be 40X.",)


def test_crops_are_left_out_on_demand(write: Write) -> None:
    rows = [*two(whole="yes"), {"path": "c.png", "label": "benign", "patient": "p1", "whole": "no"}]
    folder = write(rows)
    assert len(load(folder)) == 3
    assert len(load(folder, whole_only=True)) == 2


def test_everything_wrong_is_said_at_once(write: Write) -> None:
    rows = [
        *two(),
        {"path": "gone.png", "label": "benign", "patient": "p1"},
        {"path": "text.png", "label": "benign", "patient": "p1"},
        {"path": "cut.png", "label": "benign", "patient": "p1"},
        {"path": "tiny.png", "label": "benign", "patient": "p1"},
        {"path": "d.png", "label": "unsure", "patient": "p3"},
        {"path": "e.png", "label": "benign", "patient": ""},
    ]
    folder = write(rows)
    (folder / "gone.png").unlink()
    (folder / "text.png").write_text("not an image", encoding="utf-8")
    (folder / "cut.png").write_bytes((folder / "a.png").read_bytes()[:5000])
    Image.new("RGB", (20, 20)).save(folder / "tiny.png")
    sample("benign", 77, (240, 230)).save(folder / "d.png")
    problems = problems_of(folder)
    assert len(problems) == 6
    text = "\n".join(problems)
    for words in (
        "'unsure'",
        "patient is empty",
        "gone.png is missing",
        "text.png cannot",
        "cut.png cannot",
        "tiny.png",
    ):
        assert words in text
    assert all(problem.endswith(".") for problem in problems)


def test_one_class_is_not_enough(write: Write) -> None:
    assert problems_of(write(two()[:1])) == ["The data set has no malignant image; both classes are needed."]


def test_equal_pixels_of_one_patient_are_kept_once_and_said(write: Write) -> None:
    rows = [*two(), {"path": "copy.bmp", "label": "malignant", "patient": "p2"}]
    folder = write(rows)
    Image.open(folder / "b.png").save(folder / "copy.bmp")  # another file, the same picture
    data = load(folder)
    assert [image.path.name for image in data.images] == ["a.png", "b.png"]
    assert data.notes == (
        "1 image is in the data set under a second name, with equal pixels; one copy of each is used (patient p2).",
    )


def test_a_case_filed_under_two_subtypes_is_kept_once(tmp_path: Path) -> None:
    sample("malignant", 1, (240, 230)).save(tmp_path / "SOB_M_DC-14-13412-40-001.png")
    sample("benign", 2, (240, 230)).save(tmp_path / "SOB_B_A-14-22549AB-40-001.png")
    shutil.copy(tmp_path / "SOB_M_DC-14-13412-40-001.png", tmp_path / "SOB_M_LC-14-13412-40-001.png")
    data = load(tmp_path)
    assert len(data) == 2
    assert "patient 14-13412" in data.notes[0]


@pytest.mark.parametrize(
    ("label", "patient", "wrong"),
    [("malignant", "p1", ["labels"]), ("benign", "p9", ["patients"]), ("malignant", "p9", ["labels", "patients"])],
)
def test_equal_pixels_that_contradict_are_refused(write: Write, label: str, patient: str, wrong: list[str]) -> None:
    folder = write([*two(), {"path": "copy.png", "label": label, "patient": patient}])
    shutil.copy(folder / "a.png", folder / "copy.png")
    problems = problems_of(folder)
    assert [problem.split(":")[0] for problem in problems] == [f"Equal pixels under different {name}" for name in wrong]
    assert all("a.png" in problem and "copy.png" in problem for problem in problems)


def test_the_fingerprint_depends_on_pixels_labels_and_patients_only(write: Write) -> None:
    folder = write(two())
    data = load(folder)
    (folder / "a.png").rename(folder / "renamed.png")
    again = load(write([two()[1], {**two()[0], "path": "renamed.png"}]))
    assert again.fingerprint == data.fingerprint
    changes: list[dict[str, Any]] = [{"label": "malignant"}, {"patient": "p7"}, {"sha256": "0" * 64}]
    for change in changes:
        changed = ImageDataset((replace(data.images[0], **change), *data.images[1:]))
        assert changed.fingerprint != data.fingerprint
    assert data.subset(lambda image: image.label == "benign").fingerprint != data.fingerprint


def test_a_synthetic_tree_is_known_as_synthetic(tmp_path: Path) -> None:
    write_small_tree(tmp_path / "tree", patients=1)
    data = load(tmp_path / "tree", magnifications=("40X",))
    assert data.synthetic
    assert data.subset(lambda _: True).synthetic
    assert data.summary().startswith("2 synthetic images")


@pytest.mark.slow
def test_the_shared_images_are_as_described(breakhis: Path) -> None:
    data = load(breakhis, magnifications=("40X",), whole_only=True)
    assert data.summary() == "323 images: 110 benign of 6 patients, 213 malignant of 11 patients"
    assert data.notes == ()


def test_among_the_types_a_case_filed_under_two_is_left_out(tmp_path: Path) -> None:
    """Nobody knows which of the two names of case 13412 is true."""
    for seed, name in enumerate(("M_DC-14-13412", "M_MC-14-1", "B_A-14-22549AB", "B_F-14-2")):
        sample("malignant" if name[0] == "M" else "benign", seed, (240, 230)).save(tmp_path / f"SOB_{name}-40-001.png")
    shutil.copy(tmp_path / "SOB_M_DC-14-13412-40-001.png", tmp_path / "SOB_M_LC-14-13412-40-001.png")
    data = load(tmp_path, task=TASKS["subtype"])
    assert {image.patient for image in data.images} == {"14-1", "14-22549", "14-2"}
    assert "under two subtypes" in data.notes[0] and "patient 14-13412" in data.notes[0]
    assert data.labels.tolist() == [data.task.classes.index(image.subtype) for image in data.images]


def test_images_outside_the_task_are_sentences(write: Write) -> None:
    problems = problems_of(write([*two(subtype="Ductal Carcinoma")]), task=TASKS["subtype"])
    assert problems == ["All images are of one class; at least two classes are needed."]
    rows = [*two(subtype="adenosis"), {"path": "c.png", "label": "benign", "patient": "p3", "subtype": "lipoma"}]
    rows.append({"path": "d.png", "label": "benign", "patient": "p4"})
    text = "\n".join(problems_of(write(rows), task=TASKS["subtype"]))
    assert "c.png has the subtype 'lipoma'; the task needs one of adenosis" in text
    assert "d.png has no subtype" in text


def test_several_sizes_are_noted(write: Write) -> None:
    folder = write(two())
    sample("benign", 5, (300, 260)).save(folder / "a.png")
    assert load(folder).notes == (
        "The images have 2 sizes: 240x230 (1), 300x260 (1). Each is cut by its own grid and counts once.",
    )
