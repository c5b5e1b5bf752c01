"""The report of a search: a page, and the trials as CSV."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trainer.evaluation.metrics import MEASURES, Estimate
from trainer.evaluation.results import Run
from trainer.report.document import (
    Block,
    Cell,
    Details,
    Document,
    Entry,
    Facts,
    Group,
    Section,
    Table,
    Text,
    write_text,
)
from trainer.report.formatting import counted, estimate, interval, number, plain, signed
from trainer.search import plots
from trainer.search.results import NestedEvaluation, Objective, SearchResults
from trainer.search.space import in_words

NAME = "search"
"""The name of the report's files, without suffixes."""

_ROWS = 9
"""The maximum number of rows of a table that is not folded."""

_OBJECTIVES: dict[Objective, str] = {
    "log_loss": "calibrated log loss with equal weight for each class (lower is better)",
    "auc": "AUC (higher is better)",
}


def write(out: Path, results: SearchResults, run: Run) -> None:
    """Write `search.html`, `search.md` with `figures/*.svg`, and `trials.csv`, each atomically."""
    document(results, run).write(out, NAME)
    names = list(results.space)
    rows = [
        [
            search.name, trial.number, *(trial.values[name] for name in names), trial.objective, trial.temperature,
            trial.diverged, trial == search.best,
        ]
        for search in results.searches
        for trial in search.trials
    ]  # fmt: skip
    text = io.StringIO()
    columns = ["split", "trial", *names, results.objective, "temperature", "diverged", "chosen"]
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    write_text(out / "trials.csv", text.getvalue())


def document(results: SearchResults, run: Run) -> Document:
    """Return the whole report."""
    return Document(
        title=f"Search for options: {results.base.network}, {results.base.mode}",
        warnings=_warnings(results),
        lead=_lead(results),
        sections=[
            _how(results),
            *([Section("The gain of the search", [_gain(results.honest, _unseen(results))])] if results.honest else []),
            Section("The chosen options", _chosen(results)),
            Section("The trials", [plots.objectives(results), plots.slices(results), _importances(results)]),
            Section("This run", [_this_run(run)]),
            Section("All options for the final model", [_options(results)]),
        ],
    )


def _warnings(results: SearchResults) -> list[str]:
    warnings = []
    if results.honest is None:
        warnings.append(
            "This choice comes without an unbiased metric. The objective of the best trial is the best of many "
            "attempts on the same patients, so it is too good; models with these options must be measured on other "
            "patients. A nested search does that."
        )
    if results.leaks:
        warnings.append(f"The outer protocol leaks: {results.protocol_note}.")
    if results.synthetic:
        warnings.append(
            "The images are synthetic: no patient is behind them, and these metrics do not apply to real tissue."
        )
    return warnings


def _lead(results: SearchResults) -> str:
    chosen = ", ".join(f"{plain(name)} {in_words(value)}" for name, value in results.final.best.values.items())
    lead = f"For the final model, {counted(results.trials, 'trial')} on all images chose: {chosen}."
    if results.honest is None:
        return f"{lead} {results.intended_use}"
    main = "balanced_accuracy"
    searched, difference = results.honest.searched[main], results.honest.difference[main]
    verdict = (
        "the difference may be due to chance"
        if difference.low <= 0 <= difference.high
        else ("the search improved it" if difference.value > 0 else "the search made it worse")
    )
    return (
        f"Options chosen by such a search reach a balanced accuracy of {number(searched.value)} (95 % interval "
        f"{interval(searched)}) on {_unseen(results)} that the search had not seen; the base options reach "
        f"{number(results.honest.base[main].value)}: {verdict} (difference {_difference(difference)}). {lead} "
        f"{results.intended_use}"
    )


def _difference(one: Estimate) -> str:
    return f"{signed(one.value)}, {signed(one.low)} to {signed(one.high)}"


def _how(results: SearchResults) -> Section:
    inner = f"{results.inner_folds} folds by patient" if results.inner_folds else "one patient left out at a time"
    pairs: list[tuple[str, str | Sequence[str]]] = [
        ("Outer protocol", f"{results.protocol}: {results.protocol_note}" if results.splits else "none"),
        ("Outer splits", str(len(results.splits))),
        ("Inside each split's training images", inner),
        ("Trials", f"{results.trials} in each search, the first with the base options; then Optuna's TPE sampler"),
        ("Objective", f"{_OBJECTIVES[results.objective]}, of the pooled inner out-of-fold predictions"),
        ("Searched", [_range(name, space) for name, space in results.space.items()]),
        ("Data fingerprint", str(results.data.get("fingerprint", "unknown"))),
        ("Citation", str(results.data.get("citation", "unknown"))),
        ("Seed", str(results.base.seed)),
    ]
    if results.notes:
        pairs.append(("Notes", results.notes))
    return Section("How it was searched", [Facts(pairs)])


def _range(name: str, space: dict[str, Any]) -> str:
    attributes = space["attributes"]
    if "choices" in attributes:
        return f"{plain(name)}: {', '.join(map(in_words, attributes['choices']))}"
    scale = ", on a logarithmic scale" if attributes["log"] else ""
    return f"{plain(name)}: {in_words(attributes['low'])} to {in_words(attributes['high'])}{scale}"


def _unseen(results: SearchResults) -> str:
    """Return the noun for what the search has not seen: under a leaking protocol images, but not their patients."""
    return "images" if results.leaks else "images of patients"


def _gain(evaluation: NestedEvaluation, unseen: str) -> Table:
    rows: list[list[Entry]] = [
        [
            MEASURES[name],
            estimate(evaluation.searched[name]),
            estimate(evaluation.base[name]),
            _difference(evaluation.difference[name]),
        ]
        for name in MEASURES
        if name in evaluation.searched
    ]
    return Table(
        f"Verdicts on {unseen} that no search had seen, with 95 % intervals by resampling patients",
        ["measure", "searched", "base options", "difference"],
        [Group("", rows)],
        f"{counted(evaluation.predictions, 'image')} of {counted(evaluation.patients, 'patient')}. ECE and Brier "
        "score: lower is better. If the interval of a difference contains 0, the difference may be due to chance, and "
        "the base options may be as good.",
    )


def _chosen(results: SearchResults) -> list[Block]:
    names = list(results.space)
    rows: list[list[Entry]] = [
        [
            one.name,
            *(Cell(in_words(one.best.values[name]), strong=one is results.final) for name in names),
            number(one.best.objective, 4),
            f"{one.best.number}",
        ]
        for one in (results.final, *results.splits)
    ]
    table = Table(
        "The best trial of each search",
        ["search", *map(plain, names), plain(results.objective), "trial"],
        [Group("", rows)],
        "The first row is for the final model. The objective is the best of many attempts, so it is too good.",
    )
    blocks: list[Block] = [table] if len(rows) <= _ROWS else [Details("The best trial of each search", [table])]
    if not results.splits:
        return blocks
    spread: list[list[Entry]] = [
        [plain(name), _spread([one.best.values[name] for one in results.splits]), in_words(final)]
        for name, final in results.final.best.values.items()
    ]
    return [
        Text(
            "Each search had other patients. If the searches chose similar values, the choice is stable; if the values "
            "scatter, these patients do not show which value is better."
        ),
        Table(
            "The choices of the outer splits",
            ["option", "in the outer splits", "for the final model"],
            [Group("", spread)],
            words=3,
        ),
        *blocks,
    ]


def _spread(values: Sequence[Any]) -> str:
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values) and len(set(values)) > 1:
        return f"{in_words(min(values))} to {in_words(max(values))}, median {in_words(float(np.median(values)))}"
    return ", ".join(f"{in_words(value)} ({times} of {len(values)})" for value, times in Counter(values).most_common())


def _importances(results: SearchResults) -> Block:
    if results.final.importances:
        return plots.importances(results)
    return Text("Too few trials or options to estimate which options matter.")


def _this_run(run: Run) -> Facts:
    seconds = sum(map(run.total, run.seconds))
    return Facts(
        [
            ("Device", run.device),
            ("Precision", run.precision),
            ("Versions", ", ".join(f"{name} {version}" for name, version in run.versions.items())),
            ("Finished", run.finished),
            ("Time of all trials", f"{seconds:,.1f} s"),
        ]
    )


def _options(results: SearchResults) -> Details:
    base = results.base.model_dump(mode="json")
    rows: list[list[Entry]] = [
        [plain(name), Cell(in_words(value), strong=name in results.space), in_words(base[name])]
        for name, value in results.best.model_dump(mode="json").items()
    ]
    table = Table(
        "All options", ["option", "best.json", "base"], [Group("", rows)], "Bold: options that were searched.", words=3
    )
    return Details("All options, as in best.json", [table])
