"""The report's numbers, computed anew from its raw numbers by other means."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from sklearn import metrics as reference

from testing import studies
from testing.report_pages import Page, write
from trainer.evaluation.results import StudyResults

Rows = list[dict[str, str]]


class Report(NamedTuple):
    results: StudyResults
    page: Page
    out: Path

    def csv(self, name: str) -> Rows:
        with (self.out / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    def table(self, start: str) -> dict[str, list[str]]:
        """A table's rows by their first cell; the first of those with the same name."""
        rows = next(rows for caption, rows in self.page.tables.items() if caption.startswith(start))
        found: dict[str, list[str]] = {}
        for row in rows[1:]:
            found.setdefault(row[0], row[1:])
        return found

    def predictions(self, name: str) -> Rows:
        return [row for row in self.csv("predictions") if row["candidate"] == name]


@pytest.fixture
def full(full_report: tuple[StudyResults, Path, Page]) -> Report:
    results, out, page = full_report
    return Report(results, page, out)


@pytest.fixture
def subtypes(subtypes_report: tuple[StudyResults, Path, Page]) -> Report:
    results, out, page = subtypes_report
    return Report(results, page, out)


def column(rows: Rows, name: str) -> np.ndarray:
    return np.array([float(row[name]) for row in rows])


def truth(rows: Rows) -> np.ndarray:
    return np.array([row["label"] == "malignant" for row in rows])


def first(cell: str) -> float:
    return float(cell.split(maxsplit=1)[0])


def test_predictions_are_all_there_and_follow_from_share_and_threshold(full: Report) -> None:
    rows = full.csv("predictions")
    assert len(rows) == len(full.results.candidates) * 2 * len(full.results.images)
    for row in rows:
        assert row["verdict"] == ("malignant" if float(row["share_malignant"]) > float(row["threshold"]) else "benign")
        assert (row["right"] == "yes") == (row["verdict"] == row["label"])
        assert float(row["probability_benign"]) + float(row["probability_malignant"]) == pytest.approx(1)
    assert {row["sha256"] for row in rows} == {image.sha256 for image in full.results.images}


def test_the_table_of_candidates(full: Report) -> None:
    table = full.table("Verdicts on images")
    order = list(table)[1:5]
    assert order == sorted(order, key=lambda name: -first(table[name][0]))
    for one in full.results.compared:
        rows = full.predictions(one.name)
        malignant, right = truth(rows), np.array([row["right"] == "yes" for row in rows])
        margin = column(rows, "logit_malignant") - column(rows, "logit_benign")
        patients = np.array([row["patient"] for row in rows])
        probability = column(rows, "probability_malignant")
        expected = [
            (right[malignant].mean() + right[~malignant].mean()) / 2,
            reference.roc_auc_score(malignant, margin),
            right.mean(),
            right[malignant].mean(),
            right[~malignant].mean(),
            np.mean([right[patients == name].mean() for name in np.unique(patients)]),
        ]
        assert [first(cell) for cell in table[one.name][:6]] == pytest.approx(expected, abs=0.0006)
        assert first(table[one.name][7]) == pytest.approx(np.mean((probability - malignant) ** 2), abs=0.0006)
    assert [table["ResNet 18, one fold, threshold chosen on the test images"][at] for at in (0, 2)] == [
        "0.826",
        "0.857",
    ]


def test_the_metrics_file_holds_the_same(full: Report) -> None:
    by_name = {(row["candidate"], row["measure"]): row for row in full.csv("metrics")}
    assert len(by_name) == len(full.results.candidates) * 9
    table = full.table("Verdicts on images")
    for name, row in ((name, by_name[name, "auc"]) for name in list(table)[1:5]):
        assert table[name][1] == f"{float(row['value']):.3f} ({float(row['low']):.3f} to {float(row['high']):.3f})"


def test_table_1(full: Report) -> None:
    table = full.table("Table 1.")
    assert list(table) == ["alexnet, scratch", "0.05", "0.01", "0.001"]
    names = {"0.05": "alexnet scratch, rate 0.05", "0.01": "alexnet scratch, rate 0.01", "0.001": "alexnet scratch"}
    for rate, name in names.items():
        accuracies = [float(row["test_accuracy"]) for row in full.csv("folds") if row["candidate"] == name]
        mean, _, deviation = table[rate][1].split()
        assert table[rate][0] == name
        assert float(mean) == pytest.approx(np.mean(accuracies), abs=0.00006)
        assert float(deviation) == pytest.approx(np.std(accuracies, ddof=1), abs=0.00006)
    assert [table[rate][2] for rate in names] == ["0.6919", "0.8188", "0.8352"]


def test_tables_2_to_4(full: Report) -> None:
    second, third, fourth = (full.table(f"Table {number}.") for number in (2, 3, 4))
    for one in full.results.compared:
        folds = [row for row in full.csv("folds") if row["candidate"] == one.name]
        tested = [part for part in ("training", "validation", "test") if folds[0][f"{part}_accuracy"]]
        assert ("validation" in tested) == (one.options.mode != "frozen")
        for part in tested:
            at = {"training": 0, "validation": 2, "test": 4}[part]
            assert first(second[one.name][at]) == pytest.approx(column(folds, f"{part}_accuracy").mean(), abs=6e-5)
            assert first(second[one.name][at + 1]) == pytest.approx(column(folds, f"{part}_loss").mean(), abs=6e-5)
        tn, fp, fn, tp = (
            column(folds, f"patches_{label}_called_{vote}").mean()
            for label in ("benign", "malignant")
            for vote in ("benign", "malignant")
        )
        assert [float(cell) for cell in third[one.name]] == pytest.approx([tn, fp, fn, tp], abs=0.006)
        assert [float(cell) for cell in fourth[one.name]] == pytest.approx([tp / (tp + fn), tn / (tn + fp)], abs=6e-5)
    assert second["ResNet 18"][4:] == ["0.8536 ± 0.0866", "0.8070"]
    assert third["AlexNet"] == ["1166.75", "708.25", "278.00", "3832.00"]
    assert fourth["SqueezeNet"] == ["0.8676", "0.6901"]


def test_table_5(full: Report) -> None:
    table = full.table("Table 5.")
    assert table["resnet18 scratch"] == ["8", "12.0"]
    assert table["all of them"] == ["", "48.0"]
    assert table["AlexNet"] == ["4", "1,634"]


def best(full: Report) -> str:
    return list(full.table("Verdicts on images"))[1]


def test_table_6_and_the_scan(full: Report) -> None:
    name = best(full)
    rows = full.predictions(name)
    malignant, shares = truth(rows), column(rows, "share_malignant")
    table = full.table("Table 6.")
    for text in ("0.10", "0.25", "0.50", "0.75", "0.90"):
        (tn, fp), (fn, tp) = reference.confusion_matrix(malignant, shares > float(text)).tolist()
        assert [int(cell) for cell in table[text][:4]] == [tn, fp, fn, tp]
        expected = [tp / (tp + fn), tn / (tn + fp), (tp / (tp + fn) + tn / (tn + fp)) / 2]
        assert [float(cell) for cell in table[text][4:]] == pytest.approx(expected, abs=0.0006)
    scan = [row for row in full.csv("thresholds") if row["candidate"] == name]
    assert len(scan) == 200
    for row in scan[::20]:
        (tn, fp), (fn, tp) = reference.confusion_matrix(malignant, shares > float(row["threshold"])).tolist()
        assert [int(row[key]) for key in ("tn", "fp", "fn", "tp")] == [tn, fp, fn, tp]
    youden = max(float(row["balanced_accuracy"]) for row in scan)
    chosen = {rule: row for row in scan for rule in row["chosen_by"].split()}
    assert set(chosen) == {"balanced_accuracy", "youden", "sensitivity", "thesis"}
    assert float(chosen["youden"]["balanced_accuracy"]) == youden
    assert float(chosen["sensitivity"]["accuracy_malignant"]) >= 0.95
    assert float(chosen["thesis"]["threshold"]) == 0.9


def test_each_candidate_has_its_own_rule_unless_told(full: Report, tmp_path: Path) -> None:
    rules = {row["candidate"]: row["own_rule"] for row in full.csv("thresholds")}
    assert rules["shufflenet_v2 scratch"] == "youden"
    assert rules["resnet18 scratch"] == "balanced_accuracy"
    results = studies.study(candidates=[{"name": "one", "threshold_rule": "youden"}])
    told = Report(results, write(tmp_path, results, threshold_rule="thesis"), tmp_path)
    assert {row["threshold"] for row in told.csv("predictions")} == {"0.9"}


def test_referrals(full: Report) -> None:
    name = best(full)
    rows = full.predictions(name)
    sure = np.abs(column(rows, "probability_malignant") - 0.5)
    right = np.array([row["right"] == "yes" for row in rows])[np.argsort(-sure, kind="stable")]
    expected = [right[: round(len(right) * share)].mean() for share in (1, 0.9, 0.8, 0.7)]
    table = full.table("Accuracy of the remaining verdicts")
    assert [float(cell) for cell in table[name]] == pytest.approx(expected, abs=0.0006)


def test_patients_and_subtypes_worst_first(full: Report) -> None:
    name = best(full)
    for start, key in (("By patient", "patient"), ("By subtype", "subtype")):
        images: dict[str, set[str]] = defaultdict(set)
        right: dict[str, list[bool]] = defaultdict(list)
        shares: dict[str, list[float]] = defaultdict(list)
        for row in full.predictions(name):
            group = row[key].replace("_", " ")
            images[group].add(row["file"])
            right[group].append(row["right"] == "yes")
            shares[group].append(float(row["share_malignant"]))
        table = full.table(start)
        assert set(table) == set(images)
        for group, cells in table.items():
            assert int(cells[2]) == len(images[group])
            assert float(cells[3]) == pytest.approx(np.mean(right[group]) * len(images[group]))
            assert float(cells[4]) == pytest.approx(np.mean(right[group]), abs=0.0006)
            assert float(cells[5]) == pytest.approx(np.mean(shares[group]), abs=0.0006)
        shown = [float(cells[4]) for cells in table.values()]
        assert shown == sorted(shown)


def test_the_most_wrong_images_are_those_with_the_least_probable_truth(full: Report) -> None:
    wrong: dict[str, list[bool]] = defaultdict(list)
    own: dict[str, list[float]] = defaultdict(list)
    for row in full.predictions(best(full)):
        wrong[row["file"]].append(row["right"] == "no")
        own[row["file"]].append(float(row[f"probability_{row['label']}"]))
    expected = sorted(
        (file for file in wrong if np.mean(wrong[file]) >= 0.5), key=lambda file: float(np.mean(own[file]))
    )
    text = "".join(full.page.text)
    assert f"{len(expected)} of {len(wrong)} images got a wrong verdict" in text
    places = [text.index(file) for file in expected[:12]]
    assert places == sorted(places)


def test_epochs_are_all_there_and_one_of_each_fold_is_kept(full: Report) -> None:
    rows = full.csv("epochs")
    assert len(rows) == sum(len(fold.epochs) for one in full.results.candidates for fold in one.folds)
    trained = [one for one in full.results.candidates if one.options.mode != "frozen"]
    assert sum(row["kept"] == "yes" for row in rows) == len(trained) * len(full.results.splits)


def test_tumour_types(subtypes: Report) -> None:
    name = best(subtypes)
    rows = subtypes.predictions(name)
    classes = subtypes.results.classes
    labels, verdicts = [row["label"] for row in rows], [row["verdict"] for row in rows]
    for row in rows:
        shares = [float(row[f"share_{one}"]) for one in classes]
        assert shares[classes.index(row["verdict"])] == max(shares)
        assert row["threshold"] == ""
    candidates = subtypes.table("Verdicts on images")
    assert first(candidates[name][0]) == pytest.approx(reference.balanced_accuracy_score(labels, verdicts), abs=0.0006)
    assert first(candidates[name][1]) == pytest.approx(reference.accuracy_score(labels, verdicts), abs=0.0006)
    table = subtypes.table("Recall and precision")
    recalls = reference.recall_score(labels, verdicts, labels=classes, average=None, zero_division=0)
    for one, recall in zip(classes, recalls, strict=True):
        patients = {row["patient"] for row in rows if row["label"] == one}
        cells = table[one.replace("_", " ")]
        assert int(cells[1]) == len(patients)
        assert first(cells[3]) == pytest.approx(recall, abs=0.0006)
    counts = reference.confusion_matrix(labels, verdicts, labels=classes)
    shown = subtypes.table("The same counts")
    assert [[int(cell) for cell in shown[one.replace("_", " ")]] for one in classes] == counts.tolist()
    folds = [fold.patch_confusion for one in subtypes.results.candidates if one.name == name for fold in one.folds]
    mean = subtypes.table(f"Table 3. Votes of the test patches, mean over folds: {name}")
    assert float(mean["adenosis"][0]) == pytest.approx(np.mean([fold[0][0] for fold in folds]), abs=0.006)
