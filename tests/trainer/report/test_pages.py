"""Reports as pages: self-contained, well formed, equal for equal results, with warnings for protocols that leak."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from testing import studies
from testing.report_pages import Page, no_picture, write
from trainer import report
from trainer.evaluation.results import ImageRecord, StudyResults
from trainer.report.formatting import NONE
from trainer.schemas import FoldResult
from trainer.synthetic.dataset import sample


@pytest.fixture
def full(full_report: tuple[StudyResults, Path, Page]) -> tuple[Path, Page]:
    _, out, page = full_report
    return out, page


def test_the_sections_come_in_their_order(full: tuple[Path, Page]) -> None:
    assert full[1].titles == [
        "Study: benign and malignant in micrographs at 40X", "How it was measured", "The candidates",
        "The thesis's tables", "The thesis's figures", "Beyond the thesis", "Rankings and probabilities",
        "Referring images to a pathologist", "Tumour types and patients", "The most wrong images", "This run",
        "Options",
    ]  # fmt: skip


def test_every_table_and_figure_is_there(full: tuple[Path, Page]) -> None:
    out, page = full
    for number in range(1, 7):
        assert any(caption.startswith(f"Table {number}. ") for caption in page.tables), number
    text = " ".join(page.text)
    for number in (17, 18, 19):
        assert f"Figure {number}. " in text
    figures = {path.stem for path in (out / "figures").iterdir()}
    assert figures == {
        "epochs-1", "learning-1", "learning-2", "learning-4", "confusion", "thresholds", "roc", "precision-recall",
        "reliability", "risk-coverage",
    }  # fmt: skip
    assert "efficientnet_lite0 frozen: no epochs and so no curves" in text


def test_each_figure_has_a_title_and_the_colour_of_its_page(full: tuple[Path, Page]) -> None:
    out, _ = full
    html = (out / "report.html").read_text(encoding="utf-8")
    drawings = re.findall(r"<svg .*?</svg>", html, flags=re.DOTALL)
    assert len(drawings) == len(list((out / "figures").iterdir()))
    for drawing in drawings:
        assert re.search(r'role="img"', drawing)
        assert re.search(r"<title>[^<]+</title>", drawing)
        assert "currentColor" in drawing
        assert "#000000" not in drawing
    assert "prefers-color-scheme: dark" in html


def test_two_reports_of_one_study_are_equal(full: tuple[Path, Page], tmp_path: Path) -> None:
    out, _ = full
    write(tmp_path, StudyResults.model_validate_json(studies.full().model_dump_json()))
    files = sorted(path.relative_to(out) for path in out.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    for name in files:
        assert (out / name).read_bytes() == (tmp_path / name).read_bytes(), name


@pytest.mark.slow
def test_two_runs_differ_in_table_5_and_in_this_run_alone(full: tuple[Path, Page], tmp_path: Path) -> None:
    results = studies.full()
    other = studies.ran(results, device="NVIDIA H200", finished="2027-05-06T07:08:09+00:00")
    other = other.model_copy(update={"seconds": {name: [2.25] for name in other.seconds}})
    report.write(tmp_path, results, other, find_image=no_picture)
    # From Table 5's caption to Table 6's, and from "This run" to "Options".
    table, section = r"Table 5\. .*?Table 6\. ", r"\n## This run\n.*?\n## Options\n"
    pages = []
    for out in (full[0], tmp_path):
        text = (out / "report.md").read_text(encoding="utf-8")
        pages.append((text, re.sub(f"{table}|{section}", "", text, flags=re.DOTALL)))
    assert pages[0][0] != pages[1][0]
    assert pages[0][1] == pages[1][1]
    for path in [*full[0].glob("*.csv"), *full[0].glob("figures/*")]:
        assert path.read_bytes() == (tmp_path / path.relative_to(full[0])).read_bytes()


@pytest.mark.parametrize("protocol", ["thesis", "official"])
def test_a_leaking_protocol_and_synthetic_images_are_called_so(tmp_path: Path, protocol: Any) -> None:
    results = studies.study(protocol=protocol, synthetic=True)
    write(tmp_path, results)
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    warnings = re.findall(r'<p class="warning".*?</p>', html, flags=re.DOTALL)
    assert len(warnings) == 2
    assert "This protocol leaks" in warnings[0]
    assert f"worst fold: {max(split.shared_patients for split in results.splits)}." in warnings[0]
    assert "synthetic" in warnings[1]
    assert ("may be compared with the thesis" in html) == (protocol == "thesis")


def test_an_honest_study_has_no_warning(full: tuple[Path, Page]) -> None:
    html = (full[0] / "report.html").read_text(encoding="utf-8")
    assert 'class="warning"' not in html
    assert "cannot be compared" in html
    assert "not a diagnosis" in html


@pytest.mark.slow
def test_hostile_names_are_shown_as_they_are(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script> $x^{ & | \"'*`[a](b)"
    records = [
        record.model_copy(update={"file": f"{hostile}{number}", "patient": f"{record.patient}{hostile}"})
        for number, record in enumerate(studies.images())
    ]
    results = studies.study(records, candidates=[{"name": hostile, "skill": 0.3}, {"name": "_hidden & long" * 20}])
    page = write(tmp_path, results)
    assert hostile in "".join(page.text)
    for path in tmp_path.rglob("*.*"):
        if path.suffix != ".csv":
            assert "<script" not in path.read_text(encoding="utf-8"), path


def test_thumbnails_are_small_and_inside_the_page(tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    sample("malignant", 0, (700, 460)).save(picture)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")

    def find(record: ImageRecord) -> Path | None:
        number = int(record.file[-5])
        return [picture, broken, tmp_path / "missing.png", None][number % 4]

    results = studies.study(candidates=[{"name": "poor", "skill": 0.0}])
    page = write(tmp_path / "out", results, find_image=find)
    images = [link for link in page.links if link.startswith("data:image/jpeg")]
    assert 0 < len(images) < 12
    html = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert html.count('alt="Micrograph ') == len(images)
    assert len(re.findall(r"<li>\s*(?:<img[^>]*>\s*)?<p>", html)) == 12
    assert len(images[0]) < 60_000


def confident(records: list[ImageRecord], wrong: int) -> Callable[[FoldResult], FoldResult]:
    """Replaces what a fold said by the truth, but for so many of the study's images."""

    def change(fold: FoldResult) -> FoldResult:
        calls = [int(records[at].label == "malignant") ^ (at < wrong) for at in fold.images]
        shares = np.eye(2)[calls]
        return fold.model_copy(update={"shares": shares.tolist(), "logits": (3 * shares).tolist()})

    return change


@pytest.mark.parametrize("wrong", [0, 1])
def test_no_image_or_one_is_wrong(tmp_path: Path, wrong: int) -> None:
    results = studies.study()
    change = confident(results.images, wrong)
    candidate = results.candidates[0]
    candidate = candidate.model_copy(update={"folds": [change(fold) for fold in candidate.folds]})
    page = write(tmp_path, results.model_copy(update={"candidates": [candidate]}))
    text = " ".join(page.text)
    count = len(results.images)
    expected = f"1 of {count} images got a wrong verdict" if wrong else f"All {count} images were classified correctly."
    assert expected in text


def test_every_patient_a_fold(tmp_path: Path) -> None:
    results = studies.study(protocol="lopo")
    assert min(split.test_patients for split in results.splits) == 1
    assert "Folds" in " ".join(write(tmp_path, results).text)


def test_frozen_candidates_alone(tmp_path: Path) -> None:
    page = write(tmp_path, studies.study(candidates=[{"name": "frozen", "mode": "frozen"}]))
    text = " ".join(page.text)
    assert "this study has no such pair of runs" in text
    assert "--rates" in text
    assert not (tmp_path / "figures" / "learning-1.svg").exists()


def test_no_validation_and_losses_that_are_no_numbers(tmp_path: Path) -> None:
    results = studies.study()

    def change(fold: FoldResult) -> FoldResult:
        epochs = [
            epoch.model_copy(
                update={
                    "validation": None, "stopping_loss": None,
                    "training": epoch.training.model_copy(update={"loss": np.nan if epoch.number % 2 else np.inf}),
                }
            )
            for epoch in fold.epochs
        ]  # fmt: skip
        return fold.model_copy(update={"epochs": epochs, "validation": None})

    candidate = results.candidates[0]
    candidate = candidate.model_copy(update={"folds": [change(fold) for fold in candidate.folds]})
    page = write(tmp_path, results.model_copy(update={"candidates": [candidate]}))
    table = next(rows for caption, rows in page.tables.items() if caption.startswith("Table 2"))
    assert table[2][3:5] == [NONE, NONE]


def test_a_candidate_that_diverged_is_named_and_left_out(tmp_path: Path) -> None:
    results = studies.study(candidates=[{"name": "fine"}, {"name": "lost"}])
    lost = results.candidates[1]
    folds = [
        fold.model_copy(update={"logits": (np.array(fold.logits) * np.nan).tolist()}) for fold in lost.folds
    ]  # fmt: skip
    results = results.model_copy(
        update={"candidates": [results.candidates[0], lost.model_copy(update={"folds": folds})]}
    )
    page = write(tmp_path, results)
    assert "lost diverged in training" in " ".join(page.text)
    only = results.model_copy(update={"candidates": results.candidates[1:]})
    with pytest.raises(ValueError, match="nothing to report"):
        report.write(tmp_path, only, studies.ran(only), find_image=no_picture)


def test_no_candidate_was_meant_to_be_compared(tmp_path: Path) -> None:
    candidates: list[dict[str, Any]] = [
        {"name": "slow", "purpose": "rate"},
        {"name": "fast", "purpose": "rate", "learning_rate": 0.05},
        {"name": "short", "purpose": "epochs", "epochs": 3},
    ]
    page = write(tmp_path, studies.study(candidates=candidates))
    assert any(caption.startswith("Table 1. ") for caption in page.tables)


def test_tumour_types_skip_what_needs_two_classes(subtypes_report: tuple[StudyResults, Path, Page]) -> None:
    _, out, page = subtypes_report
    captions = " ".join(page.tables)
    assert "Table 2. " in captions
    assert "Table 3. " in captions
    assert "Table 5. " in captions
    assert "Table 6. " not in captions
    assert "Tables 4 and 6" in " ".join(page.text)
    assert "Classes with few patients: adenosis (3 patients)" in " ".join(page.text)
    assert not (out / "thresholds.csv").exists()
    assert {path.stem for path in (out / "figures").iterdir()} == {
        "classes", "confusion", "learning-1", "risk-coverage",
    }  # fmt: skip


def test_a_type_without_images_and_a_type_with_one_patient(tmp_path: Path) -> None:
    records = [
        record for record in studies.images(30, 3, "subtype")
        if record.label != "adenosis" and not (record.label == "fibroadenoma" and record.patient != "14-00003")
    ]  # fmt: skip
    page = write(tmp_path, studies.study(records, task="subtype"))
    table = next(rows for caption, rows in page.tables.items() if caption.startswith("Recall and precision"))
    assert table[1][:4] == ["adenosis", "no patient", "0", "0"]
    assert table[1][4] == NONE
    assert table[2][1] == "one patient: not representative of the class"
