"""Run a search: inside the training images of each outer split, and last on all images."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import optuna
from tqdm import tqdm

from trainer.data.splits import PROTOCOL_NOTES, Split
from trainer.errors import OptionsError
from trainer.evaluation.out_of_fold import OutOfFoldPredictions
from trainer.evaluation.results import Run
from trainer.experiments.prepare import Experiment, prepare
from trainer.experiments.provenance import describe_data, versions
from trainer.fitting.hardware import Hardware
from trainer.options import FitOptions
from trainer.schemas import FoldResult
from trainer.search import report
from trainer.search.journal import open_journal
from trainer.search.models import Models
from trainer.search.nested import evaluate_nested
from trainer.search.request import Request
from trainer.search.results import NestedEvaluation, Objective, SearchResults, SubsetSearch
from trainer.search.space import Space, as_data, space_for
from trainer.search.subsets import plan
from trainer.search.trials import SubsetTrials
from trainer.utils.files import write_atomically

_BEST_FILE, _RESULTS_FILE = "best.json", "search.json"


@dataclass(frozen=True)
class FinishedSearch:
    """The results of a finished search, and the run that gave them."""

    results: SearchResults
    run: Run


def search(
    source: str | Path,
    out: Path,
    base: FitOptions,
    hardware: Hardware,
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
) -> FinishedSearch:
    """Search for the best options, and measure without bias what such a search gains.

    For each split of the protocol, an Optuna study chooses options by cross-validation inside the split's training
    images; a model with these options then reads the split's test images. The pooled predictions show how good
    "search, then fit" is for new patients. Last, the same search on all images chooses the options of the final model;
    the metrics of that search are biased, because the same patients chose the options.

    A search that was interrupted resumes where it stopped if the same folder is given again, and gives the same
    results; more trials may be requested then.

    Args:
        source: A manifest, a folder with a `manifest.csv`, or a BreakHis folder tree.
        out: Folder for journal, results and report.
        base: The options that are not searched, and the values of the first trial of each search.
        hardware: Device and number format of the training.
        trials: Number of trials of each search.
        inner_folds: Number of folds by patient inside the training images; 0 leaves one patient out at a time.
        objective: The objective that ranks the trials; see `trainer.search.objective.score_predictions`.
        space: The options to search and their values; None means `space_for(base)`.
        nested: Measure the search. Without it, only the search on all images runs, and nothing shows how good its
            choice is.
        lists: Folder of the official fold lists, for the protocol `official`.
        without: Subtypes to leave out.
        cache: Folder for decoded images and computed features.
        progress: Show progress bars.

    Raises:
        OptionsError: If anything is wrong with the parameters, or the folder belongs to another search; it lists all
            problems.
        DataSetError: If anything is wrong with the data set, or it has too few patients for the inner folds; it lists
            all problems.
        WeightsUnavailableError: If ImageNet weights are needed and not available.
    """
    request = Request(base, trials, inner_folds, objective, space_for(base) if space is None else space)
    problems = list(request.problems())
    if problems:
        raise OptionsError(problems)
    experiment = prepare(source, base, hardware, cache=cache, lists=lists, without=without, progress=progress)
    if not nested:
        experiment = experiment.with_splits([])
    main = experiment.data.main
    subsets = plan(main, base, experiment.splits, inner_folds)
    identities = {subset.name: request.identity(subset, experiment) for subset in subsets}
    out.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with open_journal(out) as journal:
        journal.check(identities)
        models = Models(experiment, store=out / "folds")
        trials_by_subset = [
            SubsetTrials(
                subset,
                journal.study(subset.name, identities[subset.name], minimise=objective == "log_loss"),
                request,
                main,
                models,
            )
            for subset in subsets
        ]
        searches, evaluation = _run(trials_by_subset, models, request, experiment)
        results = _results(request, experiment, searches, evaluation)
        run = _describe_run(trials_by_subset, base, hardware)
        write_atomically(out / _RESULTS_FILE, lambda file: file.write(results.model_dump_json(indent=1).encode()))
        write_atomically(out / _BEST_FILE, lambda file: file.write(results.best.model_dump_json(indent=1).encode()))
        report.write(out, results, run)
    return FinishedSearch(results, run)


def _run(
    trials_by_subset: Sequence[SubsetTrials], models: Models, request: Request, experiment: Experiment
) -> tuple[list[SubsetSearch], NestedEvaluation | None]:
    """Search every subset, and measure the choices of the outer splits."""
    base, outer = request.base, experiment.splits
    finished = sum(len(one.done) * len(one.subset.inner) for one in trials_by_subset)
    total = 2 * len(outer) + sum(request.trials * len(one.subset.inner) for one in trials_by_subset)
    with tqdm(total=total, initial=finished, desc="Search", unit="fit", disable=not experiment.progress) as bar:

        def fit(split: Split, options: FitOptions, temperature: float = 1.0) -> FoldResult:
            result = models.out_of_fold(split, options, temperature=temperature)
            bar.update()
            return result

        # The base options come first: if they cannot be trained, that is known before hours of trials.
        base_folds = [fit(split, base) for split in outer]
        searches = [one.complete(bar) for one in trials_by_subset]
        searched_folds = [
            fit(split, base.replace(**one.best.values), one.best.temperature)
            for split, one in zip(outer, searches[:-1], strict=True)
        ]
    if not outer:
        return searches, None
    main = experiment.data.main
    evaluation = evaluate_nested(
        OutOfFoldPredictions.of_folds(main, outer, base_folds),
        OutOfFoldPredictions.of_folds(main, outer, searched_folds),
        base.threshold_rule,
    )
    return searches, evaluation


def _results(
    request: Request,
    experiment: Experiment,
    searches: Sequence[SubsetSearch],
    evaluation: NestedEvaluation | None,
) -> SearchResults:
    base, data = request.base, experiment.data
    *splits, final = searches
    return SearchResults(
        task=base.task,
        protocol=base.protocol,
        protocol_note=PROTOCOL_NOTES[base.protocol],
        leaks=any(split.leaks_patients for split in experiment.splits),
        synthetic=data.everything.synthetic,
        data=describe_data(data),
        notes=list(data.main.notes),
        objective=request.objective,
        inner_folds=request.inner_folds,
        trials=request.trials,
        space=as_data(request.space),
        base=base,
        splits=splits,
        final=final,
        best=base.replace(**final.best.values),
        honest=evaluation,
    )


def _describe_run(trials_by_subset: Sequence[SubsetTrials], base: FitOptions, hardware: Hardware) -> Run:
    """Return device, versions, and the seconds of each subset's finished trials."""
    return Run(
        device=hardware.describe(),
        precision="float32" if base.mode == "frozen" else hardware.precision,
        versions={**versions(), "optuna": optuna.__version__},
        finished=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        seconds={one.subset.name: one.seconds for one in trials_by_subset},
    )
