"""Run a study: several candidates, measured on the same folds."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from classifier import networks
from trainer.data.datasets import ImageDataset
from trainer.data.splits import PROTOCOL_NOTES, Split, patients_by_class
from trainer.errors import OptionsError
from trainer.evaluation.fold_runner import FinishedFold, FoldStore, run_folds
from trainer.evaluation.out_of_fold import diverged_fold
from trainer.evaluation.results import (
    RESULTS_FILE,
    RUN_FILE,
    Candidate,
    ImageRecord,
    Purpose,
    Run,
    SplitRecord,
    StudyResults,
)
from trainer.experiments.option_checks import option_problems
from trainer.experiments.prepare import Experiment, prepare
from trainer.experiments.provenance import describe_data, describe_weights, versions
from trainer.fitting.hardware import Hardware
from trainer.options import MODES, FitOptions, Mode
from trainer.utils.files import write_atomically
from trainer.utils.lock import locked

THESIS_NETWORKS = ("alexnet", "resnet18", "shufflenet_v2", "squeezenet")
_FEW_PATIENTS = 10


@dataclass(frozen=True)
class PlannedCandidate:
    """A candidate before it is measured; see `trainer.evaluation.results.Candidate`."""

    name: str
    options: FitOptions
    purpose: Purpose = "comparison"


@dataclass(frozen=True)
class Study:
    """The results of a finished study, and the run that gave them; see `trainer.evaluation.results`."""

    results: StudyResults
    run: Run


def plan(
    entries: Sequence[str],
    options: FitOptions,
    *,
    mode: Mode | None = None,
    rates: Sequence[float] = (),
    fewer_epochs: int | None = None,
) -> list[PlannedCandidate]:
    """List the candidates of a study.

    Args:
        entries: The candidates, each as `NETWORK` or `NETWORK:MODE`.
        options: All other options, the same for every candidate.
        mode: Mode of the entries that name none. None means `frozen` for networks whose ImageNet weights are installed
            with Patchvote, and `scratch` for the others, as in the thesis.
        rates: Additional learning rates for the first network that is trained (the thesis's Table 1).
        fewer_epochs: Another number of epochs for that network (the thesis's Figure 17).

    Raises:
        OptionsError: If anything is wrong with any candidate; it lists all problems.
    """
    planned, problems = [], []
    for entry in entries:
        network, _, given = entry.partition(":")
        chosen = given or mode or ("frozen" if networks.weights_installed(network) else "scratch")
        if chosen not in MODES:
            problems.append(f"{entry}: there is no mode {chosen!r}. The modes are: {', '.join(MODES)}.")
            continue
        planned.append(PlannedCandidate(f"{network} {chosen}", options.replace(network=network, mode=chosen)))
    names = [candidate.name for candidate in planned]
    problems += [f"{name} is listed twice." for name in dict.fromkeys(names) if names.count(name) > 1]
    trained = next((candidate for candidate in planned if candidate.options.max_epochs), None)
    problems += [f"{rate:g} is not a learning rate: it must be greater than 0." for rate in rates if rate <= 0]
    if fewer_epochs is not None and fewer_epochs < 1:
        problems.append(f"--fewer-epochs must be 1 or more, not {fewer_epochs}.")
    elif (rates or fewer_epochs) and trained is None:
        problems.append("--rates and --fewer-epochs need a network that is trained, not frozen.")
    elif trained is not None:
        planned += [
            PlannedCandidate(f"{trained.name}, rate {rate:g}", trained.options.replace(learning_rate=rate), "rate")
            for rate in dict.fromkeys(rates)
            if rate > 0 and rate != trained.options.learning_rate
        ]
        if fewer_epochs and fewer_epochs != trained.options.epochs:
            other = trained.options.replace(epochs=fewer_epochs)
            planned.append(PlannedCandidate(f"{trained.name}, epochs {fewer_epochs}", other, "epochs"))
    problems += [f"{one.name}: {sentence}" for one in planned for sentence in option_problems(one.options)]
    if not entries:
        problems.append("Name at least one network.")
    if problems:
        raise OptionsError(list(dict.fromkeys(problems)))
    return planned


def study(
    source: str | Path,
    out: Path,
    candidates: Sequence[PlannedCandidate],
    hardware: Hardware,
    *,
    lists: Path | None = None,
    without: Sequence[str] = (),
    cache: Path,
    progress: bool = False,
) -> Study:
    """Measure all candidates on the same folds and write the results.

    A study that was interrupted resumes where it stopped if the same folder is given again; candidates may be added.

    Args:
        source: A manifest, a folder with a `manifest.csv`, or a BreakHis folder tree.
        out: Folder for the results and for the state of the unfinished folds.
        candidates: The candidates, from `plan`; they share task, protocol, magnifications and seed.
        hardware: Device and number format of the training.
        lists: Folder of the official fold lists, for the protocol `official`.
        without: Subtypes to leave out.
        cache: Folder for decoded images and computed features.
        progress: Show progress bars.

    Raises:
        DataSetError: If anything is wrong with the data set; it lists all problems.
        WeightsUnavailableError: If ImageNet weights are needed and not available.
    """
    strictest = max((candidate.options for candidate in candidates), key=lambda options: options.mode != "frozen")
    experiment = prepare(
        source, strictest, hardware, cache=cache, lists=lists, without=without, progress=progress
    )  # fmt: skip
    # Missing weights of the last candidate must be reported now, not after hours of training.
    for candidate in candidates:
        networks.create(candidate.options.network, weights="imagenet" if candidate.options.pretrained else None)
    with locked(out):
        finished = {candidate: _measure(candidate, experiment, out) for candidate in candidates}
    return write_results(Path(source), out, experiment, finished)


def write_results(
    source: Path,
    out: Path,
    experiment: Experiment,
    finished: Mapping[PlannedCandidate, Sequence[FinishedFold]],
) -> Study:
    """Write the results and the run of a study, and return them.

    Args:
        source: A manifest, or the folder of the data set.
        out: Folder of the study.
        experiment: The images, splits and hardware that all candidates share.
        finished: The folds of each candidate, in the order of the splits.
    """
    data, hardware = experiment.data, experiment.hardware
    classes = len(data.main.task.classes)
    results = _results(
        source,
        next(iter(finished)).options,
        experiment,
        [
            Candidate(
                name=candidate.name,
                purpose=candidate.purpose,
                options=candidate.options,
                weights=describe_weights(candidate.options),
                parameters=_parameters(candidate.options, classes),
                folds=[fold.result for fold in folds],
            )
            for candidate, folds in finished.items()
        ],
    )
    run = Run(
        device=hardware.describe(),
        precision=hardware.precision,
        versions=versions(),
        finished=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        seconds={candidate.name: [round(fold.seconds, 3) for fold in folds] for candidate, folds in finished.items()},
    )
    write_atomically(out / RESULTS_FILE, lambda file: file.write(results.model_dump_json(indent=1).encode()))
    write_atomically(out / RUN_FILE, lambda file: file.write(run.model_dump_json(indent=1).encode()))
    return Study(results, run)


def _measure(candidate: PlannedCandidate, shared: Experiment, out: Path) -> list[FinishedFold]:
    experiment = shared.with_options(candidate.options)
    classes = len(experiment.data.main.task.classes)
    return run_folds(
        experiment.make_fitter(), experiment.splits,
        FoldStore.for_candidate(out / "folds", candidate.name, experiment.identity),
        # A candidate with too high a learning rate is a finding, not the end of the study.
        diverged=lambda split: diverged_fold(split, classes),
        epochs=candidate.options.max_epochs, title=candidate.name, progress=experiment.progress,
    )  # fmt: skip


def _parameters(options: FitOptions, classes: int) -> int:
    module = networks.create(options.network, classes=classes)
    return sum(parameter.numel() for parameter in module.parameters())


def _results(source: Path, options: FitOptions, experiment: Experiment, finished: list[Candidate]) -> StudyResults:
    main, splits = experiment.data.main, experiment.splits
    root = source if source.is_dir() else source.parent
    known = {image.magnification for image in main.images if image.magnification}
    return StudyResults(
        task=options.task,
        protocol=options.protocol,
        protocol_note=PROTOCOL_NOTES[options.protocol],
        leaks=any(split.leaks_patients for split in splits),
        seed=options.seed,
        magnifications=sorted(known, key=_factor),
        synthetic=main.synthetic,
        data=describe_data(experiment.data),
        notes=[*main.notes, *_warnings(main, splits)],
        images=[
            ImageRecord(
                file=Path(os.path.relpath(image.path, root)).as_posix(),
                sha256=image.sha256,
                label=main.task.class_of(image),
                patient=image.patient,
                subtype=image.subtype,
                slide=image.slide,
                magnification=image.magnification,
            )
            for image in main.images
        ],
        splits=[_describe(main, split) for split in splits],
        candidates=finished,
    )


def _factor(magnification: str) -> int:
    return int(magnification[:-1])


def _describe(main: ImageDataset, split: Split) -> SplitRecord:
    tested, trained = set(main.patients[split.test]), set(main.patients[split.train])
    return SplitRecord(
        name=split.name,
        repeat=split.repeat,
        test_images=split.test.size,
        test_patients=len(tested),
        shared_patients=len(tested & trained),
    )


def _warnings(main: ImageDataset, splits: Sequence[Split]) -> list[str]:
    warnings = []
    few = {name: count for name, count in patients_by_class(main).items() if 0 < count < _FEW_PATIENTS}
    if few:
        counted = ", ".join(f"{name} {count}" for name, count in few.items())
        warnings.append(
            f"Some classes have few patients ({counted}): one patient more or fewer changes their metrics a lot."
        )
    if any(split.leaks_patients for split in splits):
        shared = sum(len(set(main.patients[s.test]) & set(main.patients[s.train])) for s in splits)
        tested = sum(len(set(main.patients[s.test])) for s in splits)
        warnings.append(
            f"Of {tested} tested patients, counted fold by fold, {shared} have images in the training set of the same "
            "fold: these metrics do not show how well the model reads images of new patients."
        )
    return warnings
