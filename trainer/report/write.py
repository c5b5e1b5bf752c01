"""Write the report of a study."""

from __future__ import annotations

from pathlib import Path

from trainer.choices import ThresholdRule
from trainer.evaluation.candidates import ScoredCandidate, diverged, score
from trainer.evaluation.results import Candidate, Run, StudyResults
from trainer.report import csv_export
from trainer.report.breakdown import ImageFinder
from trainer.report.sections import StudyReport, document

NAME = "report"
"""The name of the report's files, without suffixes."""


def write(
    out: Path,
    results: StudyResults,
    run: Run,
    *,
    find_image: ImageFinder,
    threshold_rule: ThresholdRule | None = None,
) -> None:
    """Write `report.html`, `report.md` with `figures/*.svg`, and the raw numbers as CSV, each atomically.

    Everything except Table 5 and the section "This run" is the same, byte for byte, when the same study is run again.

    Args:
        out: Folder of the study; created if it does not exist.
        results: Results of the study.
        run: The run that gave the results.
        find_image: Returns the file of an image for a thumbnail, or None if it is not available.
        threshold_rule: Threshold rule of all candidates; None means each candidate's own.

    Raises:
        ValueError: If the training of every candidate diverged.
    """
    usable = [candidate for candidate in results.candidates if not diverged(results, candidate)]
    scored = [score(results, candidate, threshold_rule) for candidate in usable]
    if not scored:
        raise ValueError("There is nothing to report: the training of every candidate diverged.")

    def rule(one: ScoredCandidate) -> ThresholdRule:
        return threshold_rule or one.candidate.options.threshold_rule

    compared = [one for one in scored if _is_compared(one.candidate, scored)]
    study = StudyReport(
        results=results,
        run=run,
        scored=compared,
        rules=[rule(one) for one in compared],
        diverged=[candidate.name for candidate in results.candidates if candidate not in usable],
    )
    document(study, find_image).write(out, NAME)
    csv_export.write(out, results, scored, [rule(one) for one in scored])


def _is_compared(candidate: Candidate, scored: list[ScoredCandidate]) -> bool:
    """Return whether a candidate is part of the comparison; all are if none was meant to be."""
    return candidate.purpose == "comparison" or all(one.candidate.purpose != "comparison" for one in scored)
