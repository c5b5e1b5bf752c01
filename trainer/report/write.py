"""Write a study's report."""

from __future__ import annotations

from pathlib import Path

from trainer.choices import ThresholdRule
from trainer.evaluation.candidates import ScoredCandidate, diverged, score
from trainer.evaluation.results import Candidate, Run, StudyResults
from trainer.report import csv_export
from trainer.report.breakdown import Pictures
from trainer.report.sections import StudyReport, document

NAME = "report"
"""Of the report's files, without their suffixes."""


def write(
    out: Path,
    results: StudyResults,
    run: Run,
    *,
    pictures: Pictures,
    threshold_rule: ThresholdRule | None = None,
) -> None:
    """Write `report.html`, `report.md` with `figures/*.svg`, and the raw numbers as CSV, each atomically.

    All but Table 5 and the section "This run" is the same, byte by byte, whenever the same study is run again.

    Args:
        out: The study's folder; made if it is missing.
        results: What was found.
        run: When and where.
        pictures: Finds an image's file for a thumbnail; None where it is not at hand.
        threshold_rule: For all candidates; each one's own when None.

    Raises:
        ValueError: If no candidate can be measured.
    """
    usable = [candidate for candidate in results.candidates if not diverged(results, candidate)]
    scored = [score(results, candidate, threshold_rule) for candidate in usable]
    if not scored:
        raise ValueError("There is nothing to report: no candidate gave predictions that can be measured.")

    def rule(one: ScoredCandidate) -> ThresholdRule:
        return threshold_rule or one.candidate.options.threshold_rule

    leading = [one for one in scored if _leads(one.candidate, scored)]
    study = StudyReport(
        results=results,
        run=run,
        scored=leading,
        rules=[rule(one) for one in leading],
        diverged=[candidate.name for candidate in results.candidates if candidate not in usable],
    )
    document(study, pictures).write(out, NAME)
    csv_export.write(out, results, scored, [rule(one) for one in scored])


def _leads(candidate: Candidate, scored: list[ScoredCandidate]) -> bool:
    """Whether a candidate is compared; all are where none was meant to be."""
    return candidate.purpose == "comparison" or all(one.candidate.purpose != "comparison" for one in scored)
