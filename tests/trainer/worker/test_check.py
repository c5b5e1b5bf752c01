"""Checking a data set."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from typing import Any

from testing.data_sets import SMALL
from testing.orders import fail, succeed
from trainer.synthetic.dataset import sample
from trainer.worker.protocol import CheckOrder


def test_a_check_says_what_the_data_set_holds(checked: dict[str, Any], tree: Path) -> None:
    assert len(checked["images"]) == 8
    assert checked["synthetic"]
    assert checked["bytes"] == sum(path.stat().st_size for path in tree.rglob("*.png"))
    for image in checked["images"]:
        assert (tree / image["path"]).is_file()
        assert (image["width"], image["height"], image["magnification"]) == (*SMALL, "40X")
    assert {image["label"] for image in checked["images"]} == {"benign", "malignant"}
    assert {image["subtype"] for image in checked["images"]} == {"adenosis", "ductal_carcinoma"}


def test_a_zip_is_unpacked_and_checked(tree: Path, checked: dict[str, Any], cache: Path, tmp_path: Path) -> None:
    shutil.make_archive(str(tmp_path / "a"), "zip", tree.parent, tree.name)
    order = CheckOrder(archive=tmp_path / "a.zip", source=tmp_path / "images", cache=cache)
    result = succeed(tmp_path / "work", order)
    assert result["fingerprint"] == checked["fingerprint"]
    assert result["synthetic"]
    assert result == succeed(tmp_path / "again", order)  # as a second child would


def test_all_problems_of_a_data_set_are_listed(tmp_path: Path) -> None:
    source = tmp_path / "images"
    source.mkdir()
    sample("benign", 1, (240, 230)).save(source / "a.png")
    sample("malignant", 1, (100, 230)).save(source / "small.png")
    (source / "broken.png").write_bytes(b"no image")
    (tmp_path / "secret.png").write_bytes((source / "a.png").read_bytes())
    rows = [
        "a.png,benign,p1",
        "small.png,malignant,p2",
        "broken.png,malignant,p3",
        "gone.png,benign,p1",
        "a.png,evil,p",
    ]
    manifest = source / "manifest.csv"
    manifest.write_text("\n".join(["path,label,patient", *rows]))
    failed = fail(tmp_path / "work", CheckOrder(source=source, cache=tmp_path / "cache"))
    assert failed.code == "data_set_problems"
    listed = "\n".join(failed.details)
    for words in (
        "small.png cannot be used",
        "broken.png cannot be used",
        "gone.png is missing",
        "'evil' is not one of",
    ):
        assert words in listed
    for elsewhere in ("../secret.png", str(tmp_path / "secret.png"), "link.png"):
        (source / "link.png").unlink(missing_ok=True)
        (source / "link.png").symlink_to(tmp_path / "secret.png")
        manifest.write_text(f"path,label,patient\n{elsewhere},benign,p1\n")
        failed = fail(tmp_path / "work", CheckOrder(source=source, cache=tmp_path / "cache"))
        assert "is outside the data set" in failed.details[0]
    failed = fail(tmp_path / "work", CheckOrder(source=tmp_path / "nowhere", cache=tmp_path / "cache"))
    assert failed.details == ("the data set does not exist.",)


def test_an_archive_that_cannot_be_used_says_why(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("../escaped.png", b"")
    order = CheckOrder(archive=tmp_path / "a.zip", source=tmp_path / "images", cache=tmp_path)
    failed = fail(tmp_path / "work", order)
    assert failed.code == "bad_archive"
    assert "escaped.png" in failed.details[0]
    assert not (tmp_path / "images").exists()
