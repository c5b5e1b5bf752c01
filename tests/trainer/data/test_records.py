"""What a manifest or a BreakHis tree says, and everything that is wrong with it at once."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from trainer.data.records import DataSetError, from_breakhis_name, read_records


@pytest.mark.parametrize(
    ("name", "label", "patient", "slide", "magnification", "subtype"),
    [
        ("SOB_B_A-14-22549AB-40-001.png", "benign", "14-22549", "14-22549AB", "40X", "adenosis"),
        ("SOB_B_PT-14-21998CD-100-012.jpg", "benign", "14-21998", "14-21998CD", "100X", "phyllodes_tumor"),
        ("SOB_M_LC-14-13412-200-003.tif", "malignant", "14-13412", "14-13412", "200X", "lobular_carcinoma"),
        ("SOB_M_DC-15-190-400-010.png", "malignant", "15-190", "15-190", "400X", "ductal_carcinoma"),
    ],
)
def test_a_breakhis_name_says_all(
    name: str, label: str, patient: str, slide: str, magnification: str, subtype: str
) -> None:
    image = from_breakhis_name(Path(name))
    assert image is not None
    assert (image.label, image.patient, image.slide) == (label, patient, slide)
    assert (image.magnification, image.subtype) == (magnification, subtype)


@pytest.mark.parametrize(
    "name", ["slide.png", "SOB_X_A-14-22549AB-40-001.png", "SOB_B_QQ-14-1-40-001.png", "SOB_B_A-14-22549AB-60-001.png"]
)
def test_another_name_says_nothing(name: str) -> None:
    assert from_breakhis_name(Path(name)) is None


def test_slides_of_one_case_are_one_patient() -> None:
    slides = [from_breakhis_name(Path(f"SOB_B_F-14-21998{suffix}-40-001.png")) for suffix in ("AB", "CD", "")]
    assert {image.patient for image in slides if image} == {"14-21998"}


def test_a_manifest_needs_only_three_columns(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("path,label,patient\na.png,Benign,p1\nb.png,malignant,p2\n", encoding="utf-8")
    records = read_records(tmp_path / "m.csv")
    assert records.problems == []
    assert [(image.path, image.label, image.patient) for image in records.images] == [
        (tmp_path / "a.png", "benign", "p1"),
        (tmp_path / "b.png", "malignant", "p2"),
    ]
    assert all(image.whole and image.magnification == "" for image in records.images)


def test_a_manifest_may_come_from_a_spreadsheet(tmp_path: Path) -> None:
    text = "﻿path,label,patient,magnification,whole,remark\r\na.png,benign,p1,40,no,hello\r\n"
    (tmp_path / "manifest.csv").write_text(text, encoding="utf-8")
    (image,) = read_records(tmp_path).images
    assert (image.magnification, image.whole) == ("40X", False)


def test_every_bad_line_is_named_at_once(tmp_path: Path) -> None:
    lines = ["path,label,patient,magnification,whole", "a.png,unsure,p1,40X,yes", ",benign,,41X,perhaps"]
    (tmp_path / "m.csv").write_text("\n".join(lines), encoding="utf-8")
    problems = read_records(tmp_path / "m.csv").problems
    assert [problem.split(":")[0] for problem in problems] == ["m.csv, line 2"] + ["m.csv, line 3"] * 4
    text = " ".join(problems)
    for word in ("'unsure'", "path is empty", "patient is empty", "'41X'", "'perhaps'"):
        assert word in text


def test_all_missing_columns_are_named(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("file,label\na.png,benign\n", encoding="utf-8")
    with pytest.raises(DataSetError) as caught:
        read_records(tmp_path / "m.csv")
    assert len(caught.value.problems) == 2


def test_a_binary_file_is_no_manifest(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_bytes(b"\x89PNG\r\n\xff\xfe\x00")
    with pytest.raises(DataSetError):
        read_records(tmp_path / "m.csv")


@pytest.mark.parametrize("content", ["nothing", "empty", "text"])
def test_a_place_without_images_is_refused_or_reported(tmp_path: Path, content: str) -> None:
    place = tmp_path / "place"
    if content == "nothing":
        with pytest.raises(DataSetError, match="does not exist"):
            read_records(place)
        return
    place.mkdir()
    if content == "text":
        (place / "README.txt").write_text("hello", encoding="utf-8")
    assert "no images" in read_records(place).problems[0]


def test_a_tree_is_read_by_names(tmp_path: Path) -> None:
    folder = tmp_path / "histology_slides" / "breast" / "malignant" / "SOB" / "x" / "40X"
    folder.mkdir(parents=True)
    for name in (
        "SOB_M_DC-14-1-40-001.png",
        "SOB_M_DC-14-1-40-002.JPG",
        "notes.txt",
        "SOB_B_A-14-2-40-001.png",
        "a.tif",
    ):
        (folder / name).touch()
    records = read_records(tmp_path)
    assert [image.path.name for image in records.images] == ["SOB_M_DC-14-1-40-001.png", "SOB_M_DC-14-1-40-002.JPG"]
    assert len(records.problems) == 2
    assert "a class that contradicts its name" in records.problems[0]
    assert "no BreakHis name" in records.problems[1]


def test_the_tree_of_the_shared_images_says_what_their_manifest_says(breakhis: Path) -> None:
    by_name = {image.path.name: image for image in read_records(breakhis / "histology_slides").images}
    listed = read_records(breakhis).images
    assert len(listed) == len(by_name) == 893
    for image in listed:
        told = by_name[image.path.name]
        assert (told.label, told.patient, told.slide) == (image.label, image.patient, image.slide)
        assert (told.magnification, told.subtype) == (image.magnification, image.subtype)


def test_every_official_name_is_understood(breakhis: Path) -> None:
    with (breakhis.parent / "breakhis-folds" / "official-files.csv").open(encoding="utf-8") as file:
        images = [from_breakhis_name(Path(row["path"])) for row in csv.DictReader(file)]
    read = [image for image in images if image is not None]
    assert len(read) == len(images) == 7909
    assert len({image.patient for image in read}) == 70
    assert len({(image.slide, image.subtype) for image in read}) == 82
