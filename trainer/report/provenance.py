"""The provenance of a report: the run, and the options of every candidate."""

from __future__ import annotations

import numpy as np

from trainer.evaluation.results import Run, StudyResults
from trainer.options import FitOptions
from trainer.report.document import Details, Facts, Group, Section, Table, Text
from trainer.report.formatting import NONE


def this_run(results: StudyResults, run: Run) -> Section:
    """Return the section on device, time and versions, which differ when a study is run again."""
    seconds = [[candidate.name, candidate.purpose, _total(run, candidate.name)] for candidate in results.candidates]
    return Section(
        "This run",
        [
            Text("Only this section and Table 5 may change when the same study is run again."),
            Facts(
                [
                    ("Device", run.device),
                    ("Precision", run.precision),
                    ("Finished", run.finished),
                    ("Versions", ", ".join(f"{name} {version}" for name, version in run.versions.items())),
                ]
            ),
            Table(
                "Seconds of training and scoring", ["candidate", "purpose", "seconds"], [Group("", seconds)], words=2
            ),
        ],
    )


def _total(run: Run, name: str) -> str:
    return f"{run.total(name):,.1f}" if name in run.seconds else NONE


def options(results: StudyResults) -> Section:
    """Return the section on the options of each candidate: those that differ from the defaults, and all (folded)."""
    candidates = results.candidates
    defaults = FitOptions().model_dump(mode="json")
    chosen = [candidate.options.model_dump(mode="json") for candidate in candidates]
    summary = [
        [
            candidate.name,
            candidate.weights,
            f"{candidate.parameters:,}",
            ", ".join(f"{name} {_value(value)}" for name, value in own.items() if value != defaults[name]) or NONE,
        ]
        for candidate, own in zip(candidates, chosen, strict=True)
    ]
    every = [[name, _value(defaults[name]), *(_value(own[name]) for own in chosen)] for name in defaults]
    return Section(
        "Options",
        [
            Table(
                "Candidates, and their options that differ from the defaults",
                ["candidate", "first weights", "parameters", "options"],
                [Group("", summary)],
                words=4,
            ),
            Details(
                "All options of all candidates",
                [
                    Table(
                        "All options",
                        ["option", "default", *(candidate.name for candidate in candidates)],
                        [Group("", every)],
                        words=2 + len(candidates),
                    )
                ],
            ),
        ],
    )


def _value(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_value(one)}" for name, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_value(one) for one in value) or NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) and np.isfinite(value) else str(value)
