"""The thesis's Tables 1 to 5 for this study, and the table of all candidates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trainer.evaluation.candidates import ScoredCandidate
from trainer.evaluation.metrics import LOWER_IS_BETTER, MEASURES
from trainer.evaluation.results import Candidate, Run, StudyResults
from trainer.report import thesis
from trainer.report.document import Cell, Entry, Group, Table
from trainer.report.formatting import NONE, estimate, mean_and_deviation, number, plain

THESIS_GROUP = "The thesis"
_OURS = "This study"


def candidates(scored: Sequence[ScoredCandidate]) -> Table:
    """Return the table of all candidates of the comparison, the best first, with every metric and its interval."""
    ordered = sorted(scored, key=lambda one: one.rank, reverse=True)
    shown = [name for name in MEASURES if name in ordered[0].measures and name != "share_auc"]
    best = {
        name: (min if name in LOWER_IS_BETTER else max)(one.measures[name].value for one in ordered) for name in shown
    }
    rows: list[list[Entry]] = [
        [one.name, *(estimate(one.measures[name], strong=one.measures[name].value == best[name]) for name in shown)]
        for one in ordered
    ]
    groups = [Group(_OURS, rows)]
    if "sensitivity" in shown:
        groups.append(Group(THESIS_GROUP, [_thesis_row(shown)]))
    return Table(
        "Verdicts on images, out of fold, with 95 % intervals by resampling patients",
        ["candidate", *(MEASURES[name] for name in shown)],
        groups,
        "Ordered by balanced accuracy; the best value of each column is bold. Patient score: the mean over patients of "
        "the share of their images with a correct verdict. "
        + (
            "ECE and Brier score (lower is better) rate the calibrated probability of malignancy. "
            if "brier" in shown
            else "ECE (lower is better) rates the calibrated probability of the likeliest class. "
        )
        + "Differences that are small compared with the intervals may be due to chance.",
    )


def _thesis_row(shown: Sequence[str]) -> list[Entry]:
    tn, fp, fn, tp = thesis.THRESHOLDS[0.90]
    sensitivity, specificity = tp / (tp + fn), tn / (tn + fp)
    values = {
        "balanced_accuracy": (sensitivity + specificity) / 2,
        "accuracy": (tn + tp) / (tn + fp + fn + tp),
        "sensitivity": sensitivity,
        "specificity": specificity,
    }
    return ["ResNet 18, one fold, threshold chosen on the test images", *(number(values.get(name)) for name in shown)]


def rates(results: StudyResults) -> Table | None:
    """Return Table 1: accuracy of the test patches by learning rate; None if the study has no other learning rates."""
    groups = [
        Group(
            f"{head.options.network}, {head.options.mode}" if head else members[0].name,
            [
                [
                    f"{member.options.learning_rate:g}",
                    member.name,
                    mean_and_deviation([fold.test.accuracy for fold in member.folds]),
                    number(thesis.RATES.get(member.options.learning_rate), 4),
                ]
                for member in sorted(members, key=lambda one: -one.options.learning_rate)
            ],
        )
        for head, members in beside_comparison(results, "rate", "learning_rate")
    ]
    if not groups:
        return None
    return Table(
        "Table 1. Learning rate and accuracy of the test patches (mean ± standard deviation over folds)",
        ["learning rate", "candidate", "test accuracy", "thesis: AlexNet, 20 epochs"],
        groups,
        words=2,
    )


def beside_comparison(
    results: StudyResults, purpose: str, option: str
) -> list[tuple[Candidate | None, list[Candidate]]]:
    """Group the candidates of a purpose with the candidate of the comparison that they vary.

    Args:
        results: Results of the study.
        purpose: The purpose; see `trainer.evaluation.results.Purpose`.
        option: The option that varies. Among the candidates of the comparison with the same network and mode, one
            with the same other options is preferred.

    Returns:
        For each varied candidate, the candidate and the list of it and its variants; for variants of no candidate,
        None and the list of the variants.
    """
    groups: dict[str, tuple[Candidate | None, list[Candidate]]] = {}
    for candidate in results.candidates:
        if candidate.purpose != purpose:
            continue
        options = candidate.options
        related = [
            one
            for one in results.compared
            if (one.options.network, one.options.mode) == (options.network, options.mode)
        ]
        related.sort(key=lambda one: one.options.model_dump(exclude={option}) != options.model_dump(exclude={option}))
        head = related[0] if related else None
        key = head.name if head else f"{options.network}, {options.mode}"
        groups.setdefault(key, (head, [head] if head else []))[1].append(candidate)
    return list(groups.values())


def patches(candidates: Sequence[Candidate]) -> Table:
    """Return Table 2: accuracy and loss of patches in training, validation and test."""
    rows: list[list[Entry]] = []
    for candidate in candidates:
        row: list[Entry] = [candidate.name]
        for part in ("training", "validation", "test"):
            metrics = [getattr(fold, part) for fold in candidate.folds]
            row.append(mean_and_deviation([None if one is None else one.accuracy for one in metrics]))
            row.append(mean_and_deviation([None if one is None else one.loss for one in metrics]))
        rows.append(row)
    thesis_rows: list[list[Entry]] = [
        [
            thesis.NETWORKS[name],
            *_thesis_cells(row.training), number(row.training_loss, 4),
            *_thesis_cells(row.validation), number(row.validation_loss, 4),
            *_thesis_cells(row.test), number(row.test_loss, 4),
        ]
        for name, row in thesis.PATCHES.items()
    ]  # fmt: skip
    return Table(
        "Table 2. Single patches: accuracy and loss (mean ± standard deviation over folds)",
        [
            "candidate",
            *(f"{part}: {metric}" for part in ("training", "validation", "test") for metric in ("acc.", "loss")),
        ],
        [Group(_OURS, rows), Group(THESIS_GROUP, thesis_rows)],
        "The training metrics are those of the epoch whose weights were kept. A dash: no images were held out for "
        "validation.",
    )


def _thesis_cells(value: tuple[float, float]) -> list[Cell]:
    return [Cell(number(value[0], 4), f"± {number(value[1], 4)}")]


def mean_confusion(candidate: Candidate) -> NDArray[np.float64]:
    """Return the confusion matrix of the test patches, averaged over the folds, of shape (classes, classes)."""
    mean: NDArray[np.float64] = np.mean([fold.patch_confusion for fold in candidate.folds], axis=0)
    return mean


def confusion(results: StudyResults, candidates: Sequence[Candidate]) -> list[Table]:
    """Return Table 3: a single table for two classes, or a table per candidate for more classes."""
    caption = "Table 3. Votes of the test patches, mean over folds"
    if results.kind.binary:
        rows = [
            [candidate.name, *(number(value, 2) for value in mean_confusion(candidate).ravel())]
            for candidate in candidates
        ]
        thesis_rows = [
            [thesis.NETWORKS[name], *(number(value, 2) for value in row)] for name, row in thesis.CONFUSION.items()
        ]
        columns = ["candidate", "TN", "FP", "FN", "TP"]
        note = "True and false negatives and positives; malignant is positive."
        return [Table(caption, columns, [Group(_OURS, rows), Group(THESIS_GROUP, thesis_rows)], note)]
    return [
        matrix(f"{caption}: {candidate.name}", results.classes, mean_confusion(candidate), 2)
        for candidate in candidates
    ]


def matrix(
    caption: str, classes: Sequence[str], counts: NDArray[np.float64] | NDArray[np.int64], digits: int = 0
) -> Table:
    """Return a confusion matrix as a table: counts by truth (rows) and prediction (columns)."""
    rows: list[list[Entry]] = [
        [plain(name), *(Cell(number(value, digits), strong=at == here) for at, value in enumerate(row))]
        for here, (name, row) in enumerate(zip(classes, counts.tolist(), strict=True))
    ]
    return Table(caption, ["truth \\ predicted", *map(plain, classes)], [Group("", rows)])


def sensitivity(candidates: Sequence[Candidate]) -> Table:
    """Return Table 4: sensitivity and specificity of patches, from Table 3's mean counts as in the thesis."""
    rows: list[list[Entry]] = []
    for candidate in candidates:
        (tn, fp), (fn, tp) = mean_confusion(candidate).tolist()
        rows.append([candidate.name, _share(tp, fn), _share(tn, fp)])
    thesis_rows = [
        [thesis.NETWORKS[name], *(number(value, 4) for value in row)] for name, row in thesis.SENSITIVITY.items()
    ]
    return Table(
        "Table 4. Sensitivity and specificity of single patches",
        ["candidate", "sensitivity", "specificity"],
        [Group(_OURS, rows), Group(THESIS_GROUP, thesis_rows)],
    )


def _share(of: float, others: float) -> str:
    return number(of / (of + others), 4) if of + others else NONE


def times(candidates: Sequence[Candidate], run: Run) -> Table:
    """Return Table 5: the time of training and scoring, which differs from run to run."""
    rows = [[candidate.name, f"{len(candidate.folds)}", _seconds(run, candidate.name)] for candidate in candidates]
    if all(candidate.name in run.seconds for candidate in candidates):
        rows.append(["all of them", "", f"{sum(run.total(candidate.name) for candidate in candidates):,.1f}"])
    thesis_rows = [[thesis.NETWORKS[name], "4", f"{seconds:,}"] for name, seconds in thesis.SECONDS.items()]
    thesis_rows.append(["all of them", "", f"{sum(thesis.SECONDS.values()):,}"])
    return Table(
        "Table 5. Time of all folds, in seconds",
        ["candidate", "folds", "seconds"],
        [Group(_OURS, rows), Group(f"{THESIS_GROUP}, on a cloud GPU", thesis_rows)],
        f"Training and scoring on {run.device}. Frozen features are computed once; their time is not included.",
    )


def _seconds(run: Run, name: str) -> str:
    return f"{run.total(name):,.1f}" if name in run.seconds else NONE
