"""The sections of a study's report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trainer.choices import ThresholdRule
from trainer.evaluation.candidates import ScoredCandidate, best
from trainer.evaluation.results import Candidate, Run, StudyResults
from trainer.report import breakdown, classes, curves, plots, provenance, tables, thesis, thresholds
from trainer.report.breakdown import ImageFinder
from trainer.report.document import Block, Document, Facts, Group, Section, Table, Text
from trainer.report.formatting import RULES, counted, interval, listed, number, plain


@dataclass(frozen=True)
class StudyReport:
    """The content of a study's report.

    Attributes:
        results: Results of the study.
        run: The run that gave the results.
        scored: The candidates of the comparison with their metrics (or all candidates, if none is for comparison), in
            the study's order.
        rules: The rule that chose the thresholds of each of these candidates.
        diverged: Names of the candidates whose training diverged.
    """

    results: StudyResults
    run: Run
    scored: Sequence[ScoredCandidate]
    rules: Sequence[ThresholdRule]
    diverged: Sequence[str]

    @property
    def best(self) -> ScoredCandidate:
        """The best candidate: by balanced accuracy, then AUC."""
        return best(list(self.scored))

    @property
    def rule(self) -> ThresholdRule:
        """The threshold rule of the best candidate."""
        return self.rules[list(self.scored).index(self.best)]

    @property
    def candidates(self) -> list[Candidate]:
        """The candidates of `scored`, without metrics."""
        return [one.candidate for one in self.scored]


def document(study: StudyReport, find_image: ImageFinder) -> Document:
    """Return the whole report.

    Args:
        study: The content of the report.
        find_image: Returns the file of an image, or None if it is not available.
    """
    results = study.results
    classes_ = listed([plain(name) for name in results.classes]) if results.kind.binary else "tumour types"
    return Document(
        title=f"Study: {classes_} in micrographs at {', '.join(results.magnifications) or 'an unknown magnification'}",
        warnings=_warnings(results),
        lead=_lead(study),
        sections=[
            _how(study),
            Section("The candidates", _candidates(study)),
            Section("The thesis's tables", _tables(study)),
            Section("The thesis's figures", _figures(study)),
            Section("Beyond the thesis", _beyond(study, find_image)),
            provenance.this_run(study.results, study.run),
            provenance.options(study.results),
        ],
    )


def _warnings(results: StudyResults) -> list[str]:
    warnings = []
    if results.leaks:
        warnings.append(
            f"This protocol leaks: {results.protocol_note}. Patients on both sides in the worst fold: "
            f"{max((split.shared_patients for split in results.splits), default=0)}."
        )
    if results.synthetic:
        warnings.append(
            "The images are synthetic: no patient is behind them, and these metrics do not apply to real tissue."
        )
    return warnings


def _lead(study: StudyReport) -> str:
    results, first = study.results, study.best
    lead = ["balanced_accuracy", "auc"] if results.kind.binary else ["balanced_accuracy", "accuracy"]
    names = {"balanced_accuracy": "a balanced accuracy of", "auc": "an AUC of", "accuracy": "an accuracy of"}
    metrics = " and ".join(
        f"{names[name]} {number(first.measures[name].value)} (95 % interval {interval(first.measures[name])})"
        for name in lead
    )
    several = len(study.scored) > 1
    picked = f", the best of {len(study.scored)} candidates," if several else ""
    bias = " These metrics are slightly too high, because they also chose the best candidate." if several else ""
    tested = len(set(first.out_of_fold.image.tolist()))
    patients = len(set(first.out_of_fold.patients.tolist()))
    return (
        f"{first.name}{picked} reaches {metrics} on {counted(tested, 'image')} of {counted(patients, 'patient')}, "
        f"measured by {results.protocol_note}.{bias} {results.intended_use}"
    )


def _how(study: StudyReport) -> Section:
    results = study.results
    repeats = len({split.repeat for split in results.splits})
    pairs: list[tuple[str, str | Sequence[str]]] = [
        ("Protocol", f"{results.protocol}: {results.protocol_note}"),
        ("Folds", f"{len(results.splits)}" + (f", in {repeats} repeats" if repeats > 1 else "")),
        ("Data fingerprint", str(results.data.get("fingerprint", "unknown"))),
        ("Citation", str(results.data.get("citation", "unknown"))),
        ("Magnifications", ", ".join(results.magnifications) or "unknown"),
        ("Seed", str(results.seed)),
        ("Intervals", "95 %, by 2,000 bootstrap samples of patients, drawn separately for each class"),
        (
            "Probabilities",
            "calibrated for each fold by a temperature that is fitted on the other folds of the same repeat",
        ),
        ("Verdict", _verdict(study)),
    ]
    extra = results.data.get("auxiliary") or {}
    if extra.get("images"):
        words = f"{counted(extra['images'], 'image')} of {counted(extra['patients'], 'patient')}"
        pairs.append(("Additional training images", f"{words}: other magnifications or crops, never used for testing"))
    notes = [*results.notes, *(f"{name} diverged in training and was not measured." for name in study.diverged)]
    if notes:
        pairs.append(("Notes", notes))
    return Section("How it was measured", [Facts(pairs), _counts(results)])


def _verdict(study: StudyReport) -> str:
    if not study.results.kind.binary:
        return "the class with the most votes of an image's patches; the mean logit breaks ties"
    rules = listed(list(dict.fromkeys(RULES[rule] for rule in study.rules)))
    return (
        "malignant if the share of malignant votes is above a threshold; the threshold of each fold is chosen on the "
        f"other folds of the same repeat by {rules}"
    )


def _counts(results: StudyResults) -> Table:
    rows = []
    for label, name in enumerate(results.classes):
        members = results.labels == label
        rows.append([plain(name), f"{members.sum():,}", f"{len(set(results.patients[members])):,}"])
    rows.append(["all", f"{len(results.images):,}", f"{len(set(results.patients)):,}"])
    return Table("Images and patients", ["class", "images", "patients"], [Group("", rows)])


def _candidates(study: StudyReport) -> list[Block]:
    blocks: list[Block] = [tables.candidates(study.scored)]
    if study.results.kind.binary:
        blocks.append(thresholds.own(study.scored, study.rules))
        return blocks
    first = study.best
    warning = classes.warning(study.results)
    if warning:
        blocks.append(Text(warning))
    blocks += [
        classes.recall_and_precision(study.results, first),
        classes.confusion(study.results, first),
        tables.matrix(f"The same counts: verdicts of {first.name}", study.results.classes, first.confusion),
    ]
    return blocks


def _tables(study: StudyReport) -> list[Block]:
    results = study.results
    patches = [candidate for candidate in results.candidates if candidate.purpose == "comparison"] or study.candidates
    blocks: list[Block] = [
        Text(thesis.comparability(results.protocol, len(results.images), synthetic=results.synthetic)),
        Text(f"The thesis: {thesis.CITATION}."),
        tables.rates(results)
        or Text(
            "Table 1 compares learning rates; this study has one learning rate per candidate. The option --rates "
            "adds others."
        ),
        tables.patches(patches),
        *tables.confusion(results, patches),
    ]
    if results.kind.binary:
        blocks += [
            tables.sensitivity(patches),
            tables.times(patches, study.run),
            thresholds.table(study.best, study.rule),
            thresholds.curve(study.best),
        ]
    else:
        blocks += [
            Text("Tables 4 and 6 (sensitivity and specificity, thresholds) need two classes; this study has more."),
            tables.times(patches, study.run),
        ]
    return blocks


def _figures(study: StudyReport) -> list[Block]:
    compared = plots.epochs_compared(study.results)
    blocks: list[Block] = [*compared]
    if not compared:
        blocks.append(
            Text(
                "Figure 17 compares numbers of epochs; this study has no such pair of runs. The option --fewer-epochs "
                "adds one."
            )
        )
    without = []
    for number_, candidate in enumerate(study.results.candidates, 1):
        if candidate.purpose != "comparison" and study.results.compared:
            continue
        drawn = plots.learning_curves(candidate, f"learning-{number_}")
        if drawn is None:
            without.append(candidate.name)
        else:
            blocks.append(drawn)
    if without:
        blocks.append(
            Text(
                f"Figure 18 shows learning curves. {listed(without)}: no epochs and so no curves, because only a "
                "linear head was fitted on frozen features."
            )
        )
    blocks.append(plots.confusions(study.results, study.scored))
    return blocks


def _beyond(study: StudyReport, find_image: ImageFinder) -> list[Block]:
    results, first = study.results, study.best
    images = breakdown.tested_images(results, first)
    wrong = breakdown.most_wrong(images)
    ranking: list[Block]
    if results.kind.binary:
        ranking = [
            curves.roc(study.scored),
            curves.precision_recall(study.scored),
            curves.reliability(study.scored, first),
        ]
    else:
        ranking = [Text("ROC, precision-recall and reliability curves need two classes; this study has more.")]
    average = "; means over the repeats" if len({split.repeat for split in results.splits}) > 1 else ""
    worst: list[Block] = [Text(breakdown.summarise_errors(images))]
    if wrong:
        worst.append(breakdown.gallery(results, wrong, find_image))
    return [
        Section("Rankings and probabilities", ranking),
        Section(
            "Referring images to a pathologist", [curves.risk_coverage(study.scored), curves.referrals(study.scored)]
        ),
        Section(
            "Tumour types and patients",
            [
                breakdown.by_subtype(results, images, f"{first.name}{average}"),
                breakdown.by_patient(results, images, f"{first.name}{average}"),
            ],
        ),
        Section("The most wrong images", worst),
    ]
