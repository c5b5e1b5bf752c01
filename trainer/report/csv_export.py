"""The raw numbers as CSV, from which every table can be computed again."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from trainer.choices import ThresholdRule
from trainer.evaluation.candidates import ScoredCandidate
from trainer.evaluation.results import Candidate, StudyResults
from trainer.evaluation.threshold_scan import scan
from trainer.report.document import write_text
from trainer.report.formatting import RULES
from trainer.schemas import PatchMetrics

_Row = Sequence[object]


def write(out: Path, results: StudyResults, scored: Sequence[ScoredCandidate], rules: Sequence[ThresholdRule]) -> None:
    """Write all CSV files.

    Args:
        out: Folder of the report.
        results: Results of the study.
        scored: The candidates with their metrics.
        rules: The rule that chose the thresholds of each candidate.
    """
    _write(out / "predictions.csv", [_prediction_columns(results), *_predictions(results, scored)])
    _write(out / "folds.csv", _folds(results))
    _write(out / "epochs.csv", _epochs(results.candidates))
    _write(out / "metrics.csv", _metrics(results, scored))
    if results.kind.binary:
        _write(out / "thresholds.csv", _thresholds(scored, rules))


def _write(path: Path, rows: Iterable[_Row]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([_plain(value) for value in row] for row in rows)
    write_text(path, text.getvalue())


def _plain(value: object) -> object:
    """Format floats with ten digits, which drops the noise of the last digits; return other values unchanged."""
    return f"{value:.10g}" if isinstance(value, float) else value


def _prediction_columns(results: StudyResults) -> _Row:
    per_class = [f"{kind}_{name}" for kind in ("share", "logit", "probability") for name in results.classes]
    return [
        "candidate", "repeat", "split", "file", "sha256", "patient", "label", "subtype", *per_class,
        "threshold", "verdict", "right",
    ]  # fmt: skip


def _predictions(results: StudyResults, scored: Sequence[ScoredCandidate]) -> Iterator[_Row]:
    for one in scored:
        scores = one.out_of_fold.scores
        for at, image in enumerate(one.out_of_fold.image.tolist()):
            record, split = results.images[image], results.splits[one.out_of_fold.fold[at]]
            yield [
                one.name, split.repeat + 1, split.name,
                record.file, record.sha256, record.patient, record.label, record.subtype,
                *scores.shares[at].tolist(), *scores.logits[at].tolist(), *one.probabilities[at].tolist(),
                "" if one.thresholds is None else float(one.thresholds[at]),
                results.classes[one.verdicts[at]], "yes" if one.right[at] else "no",
            ]  # fmt: skip


def _folds(results: StudyResults) -> Iterator[_Row]:
    confusion = [f"patches_{truth}_called_{vote}" for truth in results.classes for vote in results.classes]
    metrics = [f"{part}_{metric}" for part in ("training", "validation", "test") for metric in ("accuracy", "loss")]
    yield [
        "candidate", "purpose", "repeat", "split", "test_images", "test_patients", "shared_patients", *metrics,
        "epochs", "best_epoch", *confusion,
    ]  # fmt: skip
    for candidate in results.candidates:
        for fold, split in zip(candidate.folds, results.splits, strict=True):
            yield [
                candidate.name, candidate.purpose, split.repeat + 1, split.name,
                split.test_images, split.test_patients, split.shared_patients,
                *_patch_metrics(fold.training), *_patch_metrics(fold.validation), *_patch_metrics(fold.test),
                len(fold.epochs), fold.best_epoch or "", *(count for row in fold.patch_confusion for count in row),
            ]  # fmt: skip


def _epochs(candidates: Sequence[Candidate]) -> Iterator[_Row]:
    yield [
        "candidate", "split", "epoch", "training_accuracy", "training_loss", "validation_accuracy", "validation_loss",
        "stopping_loss", "kept",
    ]  # fmt: skip
    for candidate in candidates:
        for fold in candidate.folds:
            for epoch in fold.epochs:
                yield [
                    candidate.name, fold.name, epoch.number,
                    *_patch_metrics(epoch.training), *_patch_metrics(epoch.validation),
                    "" if epoch.stopping_loss is None else epoch.stopping_loss,
                    "yes" if epoch.number == fold.best_epoch else "no",
                ]  # fmt: skip


def _patch_metrics(part: PatchMetrics | None) -> _Row:
    return ["", ""] if part is None else [part.accuracy, part.loss]


def _metrics(results: StudyResults, scored: Sequence[ScoredCandidate]) -> Iterator[_Row]:
    yield ["candidate", "measure", "value", "low", "high"]
    for one in scored:
        rows = list(one.measures.items())
        if one.classes is not None:
            for kind, estimates in (("recall", one.classes.recall), ("precision", one.classes.precision)):
                rows += [
                    (f"{kind}_{name}", each)
                    for name, each in zip(results.classes, estimates, strict=True)
                    if each is not None
                ]
        for name, each in rows:
            yield [one.name, name, each.value, each.low, each.high]


def _thresholds(scored: Sequence[ScoredCandidate], rules: Sequence[ThresholdRule]) -> Iterator[_Row]:
    yield [
        "candidate", "threshold", "tn", "fp", "fn", "tp", "accuracy_malignant", "accuracy_benign", "balanced_accuracy",
        "chosen_by", "own_rule",
    ]  # fmt: skip
    for one, own in zip(scored, rules, strict=True):
        chosen: dict[float, list[str]] = {}
        for rule in RULES:
            chosen.setdefault(one.out_of_fold.threshold(rule), []).append(rule)
        for threshold, counts in scan(one.out_of_fold):
            yield [
                one.name, threshold, *counts, counts.sensitivity, counts.specificity, counts.balanced_accuracy,
                " ".join(chosen.get(threshold, [])), own,
            ]  # fmt: skip
