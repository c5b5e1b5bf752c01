"""Two studies side by side: joined by image, by hand; refused where there is nothing to compare."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as reference

from testing import studies
from testing.report_pages import check_page
from trainer.evaluation.comparison import StudyComparison
from trainer.evaluation.results import RESULTS_FILE, RUN_FILE, StudyResults
from trainer.experiments.compare import compare
from trainer.report import comparison


def put(folder: Path, results: StudyResults) -> Path:
    folder.mkdir()
    (folder / RESULTS_FILE).write_text(results.model_dump_json(), encoding="utf-8")
    (folder / RUN_FILE).write_text(studies.ran(results).model_dump_json(), encoding="utf-8")
    return folder


def pair(tmp_path: Path, a: StudyResults, b: StudyResults, **options: Any) -> StudyComparison:
    return compare(put(tmp_path / "a", a), put(tmp_path / "b", b), **{"draws": 200, **options})


STRONG, WEAK = ({"name": "strong", "skill": 3.0},), ({"name": "weak", "skill": 0.4},)


def test_a_study_is_like_itself(tmp_path: Path) -> None:
    study = studies.study(repeats=2)
    found = pair(tmp_path, study, study)
    assert found.paired
    assert found.images == len(study.images)
    assert not found.warnings
    assert (found.verdicts.verdicts_differ, found.verdicts.only_a_right, found.verdicts.only_b_right) == (0, 0, 0)
    for one in found.differences:
        assert (one.difference.low, one.difference.value, one.difference.high, one.b_better) == (0, 0, 0, 0.5)


def test_values_and_counts_are_those_computed_by_hand(tmp_path: Path) -> None:
    a, b = studies.study(candidates=WEAK), studies.study(candidates=STRONG, seed=5)
    found = pair(tmp_path, a, b)
    said = []
    for study in (a, b):
        one = study.out_of_fold(study.candidates[0])
        predictions = one.predictions("balanced_accuracy")
        said.append(
            dict(zip(one.image.tolist(), zip(predictions.verdicts, predictions.logits, strict=True), strict=True))
        )
    truth = a.labels == 1
    right = [np.array([one[at][0] for at in range(truth.size)]) == truth for one in said]
    by_name = {one.measure: one for one in found.differences}
    assert by_name["accuracy"].a == pytest.approx(right[0].mean())
    assert by_name["accuracy"].difference.value == pytest.approx(right[1].mean() - right[0].mean())
    areas = [reference.roc_auc_score(truth, [one[at][1] for at in range(truth.size)]) for one in said]
    assert by_name["auc"].difference.value == pytest.approx(areas[1] - areas[0])
    assert found.verdicts.only_a_right == (right[0] & ~right[1]).sum()
    assert found.verdicts.only_b_right == (right[1] & ~right[0]).sum()
    assert (
        found.verdicts.both_right
        + found.verdicts.both_wrong
        + found.verdicts.only_a_right
        + found.verdicts.only_b_right
        == truth.size
    )
    assert found.verdicts.verdicts_differ == found.verdicts.only_a_right + found.verdicts.only_b_right


def test_a_clear_winner_is_called_one(tmp_path: Path) -> None:
    found = pair(tmp_path, studies.study(candidates=WEAK), studies.study(candidates=STRONG))
    by_name = {one.measure: one for one in found.differences}
    assert by_name["auc"].difference.low > 0
    assert by_name["auc"].b_better > 0.99
    # Less is better: the difference is negative, and still B's.
    assert by_name["brier"].difference.high < 0
    assert by_name["brier"].b_better > 0.99
    assert "By balanced accuracy B is better" in comparison.document(found).markdown


def test_the_paired_bootstrap_is_the_one_done_by_hand(tmp_path: Path) -> None:
    a, b = studies.study(candidates=WEAK), studies.study(candidates=STRONG)
    found = pair(tmp_path, a, b, draws=4000)
    right = []
    for study in (a, b):
        one = study.out_of_fold(study.candidates[0])
        order = np.argsort(one.image)
        right.append((one.predictions("balanced_accuracy").verdicts == (one.labels == 1))[order].astype(float))
    gain, patients, random = right[1] - right[0], a.patients, np.random.default_rng(9)
    draws = []
    for _ in range(4000):
        drawn = []
        for label in (0, 1):
            names = np.unique(patients[a.labels == label])
            drawn += [gain[patients == name] for name in random.choice(names, names.size)]
        draws.append(np.concatenate(drawn).mean())
    accuracy = next(one for one in found.differences if one.measure == "accuracy")
    assert (accuracy.difference.low, accuracy.difference.high) == pytest.approx(
        tuple(np.percentile(draws, [2.5, 97.5])), abs=0.02
    )


def test_other_repeats_are_compared_by_each_images_mean(tmp_path: Path) -> None:
    a, b = studies.study(repeats=3), studies.study(repeats=1)
    found = pair(tmp_path, a, b)
    assert not found.paired
    assert (
        found.verdicts.both_right
        + found.verdicts.both_wrong
        + found.verdicts.only_a_right
        + found.verdicts.only_b_right
        == len(a.images)
    )
    one = a.out_of_fold(a.candidates[0])
    logits = [one.scores.margin[one.image == at].mean() for at in range(len(a.images))]
    area = next(one for one in found.differences if one.measure == "auc")
    assert area.a == pytest.approx(reference.roc_auc_score(a.labels, logits))
    assert "folds differ" in found.warnings[0]


def test_only_common_images_count(tmp_path: Path) -> None:
    records = studies.images()
    found = pair(tmp_path, studies.study(records), studies.study(records[10:]))
    assert found.images == len(records) - 10


def test_what_is_unfair_is_said(tmp_path: Path) -> None:
    other = studies.study(protocol="thesis", synthetic=True).model_copy(update={"data": {"fingerprint": "other"}})
    warnings = " ".join(pair(tmp_path, studies.study(), other).warnings)
    for words in ("protocols differ", "B was trained on images of patients", "synthetic", "data differ"):
        assert words in warnings


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    records = studies.images()
    plain = put(tmp_path / "plain", studies.study(records))
    cases = {
        "tested no image in common": studies.study(
            [one.model_copy(update={"sha256": one.sha256[::-1]}) for one in records]
        ),
        "nothing to compare": studies.subtypes(),
        "do not agree on the truth": studies.study(
            [
                one.model_copy(update={"label": {"benign": "malignant", "malignant": "benign"}[one.label]})
                for one in records
            ]
        ),
    }
    for number, (sentence, study) in enumerate(cases.items()):
        with pytest.raises(ValueError, match=sentence):
            compare(plain, put(tmp_path / str(number), study))
    malignant = [
        one if one.label == "malignant" else one.model_copy(update={"sha256": one.sha256[::-1]}) for one in records
    ]
    with pytest.raises(ValueError, match="one class alone"):
        compare(plain, put(tmp_path / "one", studies.study(malignant)))
    with pytest.raises(ValueError, match="contains no finished study"):
        compare(plain, tmp_path / "nowhere")


def test_candidates_are_found_by_name(tmp_path: Path) -> None:
    folder = put(tmp_path / "a", studies.study(candidates=[*WEAK, *STRONG]))
    assert compare(folder, folder, draws=10).name_a == "a: strong"
    assert compare(folder, folder, candidate_a="weak", draws=10).name_a == "a: weak"
    with pytest.raises(ValueError, match=r"no candidate 'week'.*weak, strong"):
        compare(folder, folder, candidate_b="week")


def test_many_classes(tmp_path: Path) -> None:
    found = pair(tmp_path, studies.subtypes(), studies.subtypes(seed=3))
    assert [one.measure for one in found.differences] == ["balanced_accuracy", "accuracy", "patient_score", "ece"]


def test_it_is_shown_as_text_markdown_and_page(tmp_path: Path) -> None:
    found = pair(tmp_path, studies.study(candidates=WEAK), studies.study(candidates=STRONG))
    lines = comparison.text(found).splitlines()
    assert lines[0] == "A: a: weak"
    assert any(line.startswith("balanced accuracy") and "to" in line for line in lines)
    assert lines[-1] == "Research use only, not a diagnosis."
    comparison.write(tmp_path / "out", found)
    written = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*"))
    assert written == ["comparison.html", "comparison.md", "figures/differences.svg"]
    page = (tmp_path / "out" / "comparison.html").read_text(encoding="utf-8")
    assert check_page(page).titles[0] == "Comparison of two studies"
    assert comparison.document(found).html == page
