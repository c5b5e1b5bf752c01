"""The search itself: inside every outer split's training patients, measured on the others, and last on all images."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import optuna
from tqdm import tqdm

from trainer.data.splits import PROTOCOL_NOTES, Split, make_splits
from trainer.errors import OptionsError
from trainer.evaluation.out_of_fold import OutOfFold
from trainer.evaluation.results import Run
from trainer.experiments import prepare
from trainer.fitting.fitters import TrainingData
from trainer.fitting.hardware import Hardware
from trainer.options import FitOptions
from trainer.schemas import FoldResult
from trainer.search import journal, report
from trainer.search.models import Models
from trainer.search.nested import evaluate_nested
from trainer.search.request import Request
from trainer.search.results import NestedEvaluation, Objective, SearchResults, SubsetSearch
from trainer.search.space import Space, as_data, space_for
from trainer.search.subsets import plan
from trainer.search.trials import Trials
from trainer.utils.files import write_atomically

_BEST_FILE, _RESULTS_FILE = "best.json", "search.json"


@dataclass(frozen=True)
class Found:
    """What a search found, and when and where that was."""

    results: SearchResults
    run: Run


def search(
    source: str | Path,
    out: Path,
    base: FitOptions,
    machine: Hardware,
    *,
    trials: int,
    inner_folds: int = 4,
    objective: Objective = "log_loss",
    space: Space | None = None,
    nested: bool = True,
    lists: Path | None = None,
    without: Sequence[str] = (),
    cache: Path,
    progress: bool = False,
) -> Found:
    """Search for the best options, and measure honestly what such a search is worth.

    For each split of the protocol, an Optuna study chooses options by cross-validation inside the split's training
    images; models with these options then judge the split's test images. These judgements, pooled, say how good
    "search, then fit" is for new patients. Last, the same search on all images chooses the options of the final model:
    no figure of that one is honest by itself.

    A search that was broken off goes on where it was when the same folder is named again, and ends in the same
    results; it may then be asked for more trials.

    Args:
        source: A manifest, a folder with a `manifest.csv`, or a BreakHis folder tree.
        out: Folder for journal, results and report.
        base: What is not searched, and where each search starts.
        machine: Where networks are trained.
        trials: Of each of the by_part.
        inner_folds: Folds by patient inside the training images; 0 leaves one patient out at a time.
        objective: What trials are ranked by; see `trainer.search.objective.judge`.
        space: What is searched; `space_for(base)` when None.
        nested: Measure the search; else only the last part is done, and nothing says how good the choice is.
        lists: Folder of the official fold lists, for that protocol.
        without: Subtypes to leave out.
        cache: Folder for decoded images and computed features.
        progress: Show progress bars.

    Raises:
        OptionsError: Listing everything that is wrong with what was asked for, another search's folder included.
        DataSetError: Listing everything that is wrong with the data set, too few patients for inner folds included.
        WeightsUnavailableError: If ImageNet weights were asked for and cannot be had.
    """
    request = Request(base, trials, inner_folds, objective, space_for(base) if space is None else space)
    problems = list(request.problems())
    if problems:
        raise OptionsError(problems)
    data = prepare.read(source, base, cache=cache, lists=lists, without=without, progress=progress)
    outer: list[Split] = []
    if nested:
        outer = make_splits(
            data.main, base.protocol, folds=base.folds, repeats=base.repeats, seed=base.seed, lists=lists
        )
    parts = plan(data.main, base, outer, inner_folds)
    identities = {part.name: request.identity(part, data, machine) for part in parts}
    out.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with journal.opened(out) as kept:
        kept.check(identities)
        models = Models(data, base, machine, store=out / "folds", cache=cache, progress=progress)
        by_part = [
            Trials(
                part,
                kept.study(part.name, identities[part.name], minimise=objective == "log_loss"),
                request,
                data.main,
                models,
            )
            for part in parts
        ]
        found, measured = _run(by_part, outer, models, request, data, progress=progress)
        results = _results(request, data, outer, found, measured)
        run = _describe_run(by_part, base, machine)
        write_atomically(out / _RESULTS_FILE, lambda file: file.write(results.model_dump_json(indent=1).encode()))
        write_atomically(out / _BEST_FILE, lambda file: file.write(results.best.model_dump_json(indent=1).encode()))
        report.write(out, results, run)
    return Found(results, run)


def _run(
    by_part: Sequence[Trials],
    outer: Sequence[Split],
    models: Models,
    request: Request,
    data: TrainingData,
    *,
    progress: bool,
) -> tuple[list[SubsetSearch], NestedEvaluation | None]:
    """Search every part, and measure the outer ones."""
    base = request.base
    fitted = sum(len(one.done) * len(one.part.inner) for one in by_part)
    total = 2 * len(outer) + sum(request.trials * len(one.part.inner) for one in by_part)
    with tqdm(total=total, initial=fitted, desc="Search", unit="fit", disable=not progress) as bar:

        def fit(split: Split, options: FitOptions, temperature: float = 1.0) -> FoldResult:
            result = models.out_of_fold(split, options, temperature=temperature)
            bar.update()
            return result

        # First, so that base options that cannot be trained with are known before hours of trials.
        before = [fit(split, base) for split in outer]
        found = [one.complete(bar) for one in by_part]
        after = [
            fit(split, base.replace(**one.best.values), one.best.temperature)
            for split, one in zip(outer, found[:-1], strict=True)
        ]
    if not outer:
        return found, None
    was, became = (OutOfFold.of_folds(data.main, outer, folds) for folds in (before, after))
    return found, evaluate_nested(was, became, base.threshold_rule)


def _results(
    request: Request,
    data: TrainingData,
    outer: Sequence[Split],
    found: Sequence[SubsetSearch],
    measured: NestedEvaluation | None,
) -> SearchResults:
    base = request.base
    *splits, final = found
    return SearchResults(
        task=base.task,
        protocol=base.protocol,
        protocol_note=PROTOCOL_NOTES[base.protocol],
        leaks=any(split.leaks_patients for split in outer),
        synthetic=data.everything.synthetic,
        data=prepare.describe_data(data),
        notes=list(data.main.notes),
        objective=request.objective,
        inner_folds=request.inner_folds,
        trials=request.trials,
        space=as_data(request.space),
        base=base,
        splits=splits,
        final=final,
        best=base.replace(**final.best.values),
        honest=measured,
    )


def _describe_run(by_part: Sequence[Trials], base: FitOptions, machine: Hardware) -> Run:
    """Device, versions, and the seconds of each part's trials, broken ones left out."""
    return Run(
        device=machine.describe(),
        precision="float32" if base.mode == "frozen" else machine.precision,
        versions={**prepare.versions(), "optuna": optuna.__version__},
        finished=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        seconds={one.part.name: one.seconds for one in by_part},
    )
