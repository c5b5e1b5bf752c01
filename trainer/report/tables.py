"""The thesis's Tables 1 to 5 for our own runs, and the leaders' table."""

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


def leaders(scored: Sequence[ScoredCandidate]) -> Table:
    """All compared candidates, best first, with every measure and its interval."""
    ordered = sorted(scored, key=lambda one: one.rank, reverse=True)
    shown = [name for name in MEASURES if name in ordered[0].measures and name != "share_auc"]
    first = {
        name: (min if name in LOWER_IS_BETTER else max)(one.measures[name].value for one in ordered) for name in shown
    }
    rows: list[list[Entry]] = [
        [one.name, *(estimate(one.measures[name], strong=one.measures[name].value == first[name]) for name in shown)]
        for one in ordered
    ]
    groups = [Group(_OURS, rows)]
    if "sensitivity" in shown:
        groups.append(Group(THESIS_GROUP, [_thesis_leader(shown)]))
    return Table(
        "Verdicts on images, out of fold, with 95 % intervals by resampling patients",
        ["candidate", *(MEASURES[name] for name in shown)],
        groups,
        "Ordered by balanced accuracy; the best value of each column is bold. Patient score: the mean over patients of "
        "the share of their images that are right. "
        + (
            "ECE and Brier score (lower is better): of the calibrated probability of malignancy. "
            if "brier" in shown
            else "ECE (lower is better): of the likeliest class's calibrated probability. "
        )
        + "Differences that are small beside the intervals mean nothing.",
    )


def _thesis_leader(shown: Sequence[str]) -> list[Entry]:
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
    """Table 1: test patch accuracy by learning rate; None where only one rate was tried."""
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
        "Table 1. Learning rate and the share of test patches that were called right (mean ± standard deviation over "
        "folds)",
        ["learning rate", "candidate", "test accuracy", "thesis: AlexNet, 20 epochs"],
        groups,
        words=2,
    )


def beside_comparison(
    results: StudyResults, purpose: str, option: str
) -> list[tuple[Candidate | None, list[Candidate]]]:
    """The candidates of a purpose, with the compared one that they vary.

    Args:
        results: The study.
        purpose: See `trainer.evaluation.results.Purpose`.
        option: What varies; among compared candidates of the same network and mode, one that is equal in all other
            options is preferred.

    Returns:
        For each compared candidate it and its variants; None and the variants where there is nothing to vary.
    """
    groups: dict[str, tuple[Candidate | None, list[Candidate]]] = {}
    for candidate in results.candidates:
        if candidate.purpose != purpose:
            continue
        options = candidate.options
        alike = [
            one
            for one in results.compared
            if (one.options.network, one.options.mode) == (options.network, options.mode)
        ]
        alike.sort(key=lambda one: one.options.model_dump(exclude={option}) != options.model_dump(exclude={option}))
        head = alike[0] if alike else None
        key = head.name if head else f"{options.network}, {options.mode}"
        groups.setdefault(key, (head, [head] if head else []))[1].append(candidate)
    return list(groups.values())


def patches(candidates: Sequence[Candidate]) -> Table:
    """Table 2: accuracy and loss of patches in training, validation and test."""
    rows: list[list[Entry]] = []
    for candidate in candidates:
        row: list[Entry] = [candidate.name]
        for part in ("training", "validation", "test"):
            figures = [getattr(fold, part) for fold in candidate.folds]
            row.append(mean_and_deviation([None if one is None else one.accuracy for one in figures]))
            row.append(mean_and_deviation([None if one is None else one.loss for one in figures]))
        rows.append(row)
    theirs: list[list[Entry]] = [
        [
            thesis.NETWORKS[name],
            *_theirs(row.training), number(row.training_loss, 4),
            *_theirs(row.validation), number(row.validation_loss, 4),
            *_theirs(row.test), number(row.test_loss, 4),
        ]
        for name, row in thesis.PATCHES.items()
    ]  # fmt: skip
    return Table(
        "Table 2. Single patches: accuracy and loss (mean ± standard deviation over folds)",
        ["candidate", *(f"{part}: {what}" for part in ("training", "validation", "test") for what in ("acc.", "loss"))],
        [Group(_OURS, rows), Group(THESIS_GROUP, theirs)],
        "Training figures are those of the epoch whose weights were kept. A dash: nothing was held out for validation.",
    )


def _theirs(value: tuple[float, float]) -> list[Cell]:
    return [Cell(number(value[0], 4), f"± {number(value[1], 4)}")]


def mean_confusion(candidate: Candidate) -> NDArray[np.float64]:
    """Test patches by truth (rows) and vote (columns), averaged over folds: of shape (classes, classes)."""
    mean: NDArray[np.float64] = np.mean([fold.patch_confusion for fold in candidate.folds], axis=0)
    return mean


def confusion(results: StudyResults, candidates: Sequence[Candidate]) -> list[Table]:
    """Table 3: one for two classes with all candidates, or one for each candidate."""
    caption = "Table 3. Votes of the test patches, mean over folds"
    if results.kind.binary:
        ours = [
            [candidate.name, *(number(value, 2) for value in mean_confusion(candidate).ravel())]
            for candidate in candidates
        ]
        theirs = [
            [thesis.NETWORKS[name], *(number(value, 2) for value in row)] for name, row in thesis.CONFUSION.items()
        ]
        columns = ["candidate", "TN", "FP", "FN", "TP"]
        note = "True and false negatives and positives; malignant is positive."
        return [Table(caption, columns, [Group(_OURS, ours), Group(THESIS_GROUP, theirs)], note)]
    return [
        matrix(f"{caption}: {candidate.name}", results.classes, mean_confusion(candidate), 2)
        for candidate in candidates
    ]


def matrix(
    caption: str, classes: Sequence[str], counts: NDArray[np.float64] | NDArray[np.int64], digits: int = 0
) -> Table:
    """A confusion matrix: counts of shape (classes, classes), rows by truth and columns by what was said."""
    rows: list[list[Entry]] = [
        [plain(name), *(Cell(number(value, digits), strong=at == here) for at, value in enumerate(row))]
        for here, (name, row) in enumerate(zip(classes, counts.tolist(), strict=True))
    ]
    return Table(caption, ["truth \\ called", *map(plain, classes)], [Group("", rows)])


def sensitivity(candidates: Sequence[Candidate]) -> Table:
    """Table 4: of the patches, from Table 3's mean counts as in the thesis."""
    ours: list[list[Entry]] = []
    for candidate in candidates:
        (tn, fp), (fn, tp) = mean_confusion(candidate).tolist()
        ours.append([candidate.name, _share(tp, fn), _share(tn, fp)])
    theirs = [[thesis.NETWORKS[name], *(number(value, 4) for value in row)] for name, row in thesis.SENSITIVITY.items()]
    return Table(
        "Table 4. Sensitivity and specificity of single patches",
        ["candidate", "sensitivity", "specificity"],
        [Group(_OURS, ours), Group(THESIS_GROUP, theirs)],
    )


def _share(of: float, others: float) -> str:
    return number(of / (of + others), 4) if of + others else NONE


def times(candidates: Sequence[Candidate], run: Run) -> Table:
    """Table 5: training and scoring of all folds. Differs from run to run."""
    ours = [[candidate.name, f"{len(candidate.folds)}", _seconds(run, candidate.name)] for candidate in candidates]
    if all(candidate.name in run.seconds for candidate in candidates):
        ours.append(["all of them", "", f"{sum(run.total(candidate.name) for candidate in candidates):,.1f}"])
    theirs = [[thesis.NETWORKS[name], "4", f"{seconds:,}"] for name, seconds in thesis.SECONDS.items()]
    theirs.append(["all of them", "", f"{sum(thesis.SECONDS.values()):,}"])
    return Table(
        "Table 5. Time of all folds, in seconds",
        ["candidate", "folds", "seconds"],
        [Group(_OURS, ours), Group(f"{THESIS_GROUP}, on a cloud GPU", theirs)],
        f"Training and scoring on {run.device}; frozen features, computed once and kept, come on top.",
    )


def _seconds(run: Run, name: str) -> str:
    return f"{run.total(name):,.1f}" if name in run.seconds else NONE
