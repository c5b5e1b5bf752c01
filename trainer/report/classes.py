"""Tables and plots for more than two classes: recall and precision of each class, and its number of patients."""

from __future__ import annotations

from trainer.evaluation.candidates import ScoredCandidate
from trainer.evaluation.results import StudyResults
from trainer.report.document import Entry, Group, Plot, Table
from trainer.report.drawing import canvas, plot
from trainer.report.formatting import counted, estimate, listed, plain
from trainer.report.plots import draw_matrix, short

_FEW, _VERY_FEW = 15, 5


def recall_and_precision(results: StudyResults, one: ScoredCandidate) -> Table:
    """Return a table with recall and precision of each class, and how reliable they are for its number of patients."""
    if one.classes is None:
        raise TypeError("A task with two classes has sensitivity and specificity instead.")
    rows: list[list[Entry]] = []
    for number, name in enumerate(results.classes):
        members = one.out_of_fold.labels == number
        patients = len(set(one.out_of_fold.patients[members]))
        rows.append(
            [
                plain(name), reliability(patients), patients, len(set(one.out_of_fold.image[members])),
                estimate(one.classes.recall[number]), estimate(one.classes.precision[number]),
            ]
        )  # fmt: skip
    return Table(
        f"Recall and precision of each class: {one.name}",
        ["class", "reliability", "patients", "images", "recall", "precision"],
        [Group("", rows)],
        "Recall: the share of the class's images that got its verdict. Precision: the share of the class's verdicts "
        "that are correct. With few patients, an interval that resamples them is uncertain and usually too narrow.",
        words=2,
    )


def reliability(patients: int) -> str:
    """Return a phrase on how reliable the metrics of a class with this number of patients are."""
    if patients == 0:
        return "no patient"
    if patients == 1:
        return "one patient: not representative of the class"
    if patients < _VERY_FEW:
        return "very few patients: not reliable"
    return "few patients: a rough estimate" if patients < _FEW else ""


def warning(results: StudyResults) -> str:
    """Return a sentence on the classes with few patients, or "" if all classes have enough."""
    few = []
    for number, name in enumerate(results.classes):
        patients = len(set(results.patients[results.labels == number]))
        if 0 < patients < _FEW:
            few.append(f"{plain(name)} ({counted(patients, 'patient')})")
    if not few:
        return ""
    return (
        f"Classes with few patients: {listed(few)}. Their metrics are rough estimates: one patient more or fewer "
        "changes them a lot."
    )


def confusion(results: StudyResults, one: ScoredCandidate) -> Plot:
    """Draw the confusion matrix of a candidate's verdicts on the images of all folds."""
    with canvas(6.4, 5.4) as figure:
        draw_matrix(figure.subplots(), one.confusion, [short(name) for name in results.classes])
        return plot(
            figure,
            "classes",
            caption=f"Confusion matrix of the verdicts of {one.name}, all folds.",
            alt="Confusion matrix of the classes; the table below it contains the same counts.",
        )
