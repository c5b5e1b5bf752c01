"""What there is to see of many classes instead of two: each class's recall and precision, and the patients behind."""

from __future__ import annotations

from trainer.evaluation.candidates import ScoredCandidate
from trainer.evaluation.results import StudyResults
from trainer.report.document import Entry, Group, Plot, Table
from trainer.report.drawing import canvas, plot
from trainer.report.formatting import counted, estimate, listed, plain
from trainer.report.plots import draw_matrix, short

_FEW, _VERY_FEW = 15, 5


def recall_and_precision(results: StudyResults, one: ScoredCandidate) -> Table:
    """A row for each class, with the number of its patients and what that means."""
    if one.classes is None:
        raise TypeError("Two classes have sensitivity and specificity instead.")
    rows: list[list[Entry]] = []
    for number, name in enumerate(results.classes):
        mine = one.found.labels == number
        patients = len(set(one.found.patients[mine]))
        rows.append(
            [
                plain(name), how_few(patients), patients, len(set(one.found.image[mine])),
                estimate(one.classes.recall[number]), estimate(one.classes.precision[number]),
            ]
        )  # fmt: skip
    return Table(
        f"Recall and precision of each class: {one.name}",
        ["class", "how far to trust it", "patients", "images", "recall", "precision"],
        [Group("", rows)],
        "Recall: the share of the class's images that were found. Precision: the share of right verdicts among those "
        "for the class. With few patients an interval that resamples them is itself uncertain, and mostly too narrow.",
        words=2,
    )


def how_few(patients: int) -> str:
    """What so many patients can tell, in a phrase."""
    if patients == 0:
        return "no patient"
    if patients == 1:
        return "one patient: says nothing about the class"
    if patients < _VERY_FEW:
        return "very few patients: a hint at most"
    return "few patients: a rough guess" if patients < _FEW else ""


def warning(results: StudyResults) -> str:
    """A sentence on the classes that have fewest patients; "" where all have enough."""
    few = []
    for number, name in enumerate(results.classes):
        patients = len(set(results.patients[results.labels == number]))
        if 0 < patients < _FEW:
            few.append(f"{plain(name)} ({counted(patients, 'patient')})")
    if not few:
        return ""
    return (
        f"Classes with few patients: {listed(few)}. Their numbers are rough guesses: one patient more or "
        "less changes them by a lot."
    )


def confusion(results: StudyResults, one: ScoredCandidate) -> Plot:
    """The verdicts of one candidate on the images of all folds."""
    with canvas(6.4, 5.4) as figure:
        draw_matrix(figure.subplots(), one.confusion, [short(name) for name in results.classes])
        return plot(
            figure,
            "classes",
            caption=f"Confusion of the classes by the verdicts of {one.name}, all folds.",
            alt="Confusion matrix of the classes; the table beside it holds the same counts.",
        )
