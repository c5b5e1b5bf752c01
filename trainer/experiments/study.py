"""The study: several ways to make a model, measured on the same folds."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from classifier import networks
from trainer.data.datasets import ImageDataset
from trainer.data.splits import PROTOCOL_NOTES, Split, make_splits, patients_by_class
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
from trainer.experiments import prepare
from trainer.fitting.fitters import TrainingData
from trainer.fitting.hardware import Hardware
from trainer.options import MODES, FitOptions, Mode
from trainer.utils.files import write_atomically
from trainer.utils.lock import alone_in

THESIS_NETWORKS = ("alexnet", "resnet18", "shufflenet_v2", "squeezenet")
_FEW_PATIENTS = 10


@dataclass(frozen=True)
class Planned:
    """A candidate before it was run; see `trainer.evaluation.results.Candidate`."""

    name: str
    options: FitOptions
    purpose: Purpose = "comparison"


@dataclass(frozen=True)
class Study:
    """Results and run of a finished study; see `trainer.evaluation.results`."""

    results: StudyResults
    run: Run


def plan(
    entries: Sequence[str],
    options: FitOptions,
    *,
    mode: Mode | None = None,
    rates: Sequence[float] = (),
    fewer_epochs: int | None = None,
) -> list[Planned]:
    """List the candidates of a study.

    Args:
        entries: `NETWORK` or `NETWORK:MODE` each.
        options: All else, the same for every candidate.
        mode: Of entries that name none. When None: `frozen` for networks whose ImageNet weights are installed with
            Patchvote, `scratch` for the others, as in the thesis.
        rates: More learning rates for the first network that is trained (the thesis's Table 1).
        fewer_epochs: Another number of epochs for it (the thesis's Figure 17).

    Raises:
        OptionsError: Listing everything that is wrong with all candidates.
    """
    planned, problems = [], []
    for entry in entries:
        network, _, given = entry.partition(":")
        chosen = given or mode or ("frozen" if networks.weights_installed(network) else "scratch")
        if chosen not in MODES:
            problems.append(f"{entry}: there is no mode {chosen!r}. There are: {', '.join(MODES)}.")
            continue
        planned.append(Planned(f"{network} {chosen}", options.replace(network=network, mode=chosen)))
    names = [candidate.name for candidate in planned]
    problems += [f"{name} is asked for twice." for name in dict.fromkeys(names) if names.count(name) > 1]
    trained = next((candidate for candidate in planned if candidate.options.most_epochs), None)
    problems += [f"{rate:g} is no learning rate: it must be above 0." for rate in rates if rate <= 0]
    if fewer_epochs is not None and fewer_epochs < 1:
        problems.append(f"--fewer-epochs must be 1 or more, not {fewer_epochs}.")
    elif (rates or fewer_epochs) and trained is None:
        problems.append("Learning rates and epochs can only be compared where a network is trained, not frozen.")
    elif trained is not None:
        planned += [
            Planned(f"{trained.name}, rate {rate:g}", trained.options.replace(learning_rate=rate), "rate")
            for rate in dict.fromkeys(rates)
            if rate > 0 and rate != trained.options.learning_rate
        ]
        if fewer_epochs and fewer_epochs != trained.options.epochs:
            other = trained.options.replace(epochs=fewer_epochs)
            planned.append(Planned(f"{trained.name}, epochs {fewer_epochs}", other, "epochs"))
    problems += [f"{c.name}: {sentence}" for c in planned for sentence in prepare.option_problems(c.options)]
    if not entries:
        problems.append("Name at least one network.")
    if problems:
        raise OptionsError(list(dict.fromkeys(problems)))
    return planned


def study(
    source: str | Path,
    out: Path,
    candidates: Sequence[Planned],
    machine: Hardware,
    *,
    lists: Path | None = None,
    without: Sequence[str] = (),
    cache: Path,
    progress: bool = False,
) -> Study:
    """Run all candidates over the same folds and write what they gave.

    A study that was broken off goes on where it was when the same folder is named again; candidates may be added.

    Args:
        source: A manifest, a folder with a `manifest.csv`, or a BreakHis folder tree.
        out: Folder for results and for the state of what is under way.
        candidates: From `plan`; they share task, protocol, magnifications and seed.
        machine: Where networks are trained.
        lists: Folder of the official fold lists, for that protocol.
        without: Subtypes to leave out.
        cache: Folder for decoded images and computed features.
        progress: Show progress bars.

    Raises:
        DataSetError: Listing everything that is wrong with the data set.
        WeightsUnavailableError: If ImageNet weights were asked for and cannot be had.
    """
    strictest = max((candidate.options for candidate in candidates), key=lambda options: options.mode != "frozen")
    data = prepare.read(source, strictest, cache=cache, lists=lists, without=without, progress=progress)
    splits = make_splits(
        data.main, strictest.protocol,
        folds=strictest.folds, repeats=strictest.repeats, seed=strictest.seed, lists=lists,
    )  # fmt: skip
    # Before hours of training, learn that the last candidate's weights cannot be had.
    for candidate in candidates:
        networks.create(candidate.options.network, weights="imagenet" if candidate.options.pretrained else None)
    with alone_in(out):
        folds = [
            _run(candidate, data, splits, machine, out=out, cache=cache, progress=progress) for candidate in candidates
        ]
    finished = dict(zip(candidates, folds, strict=True))
    return conclude(Path(source), out, data, splits, finished=finished, machine=machine)


def conclude(
    source: Path,
    out: Path,
    data: TrainingData,
    splits: Sequence[Split],
    *,
    finished: Mapping[Planned, Sequence[FinishedFold]],
    machine: Hardware,
) -> Study:
    """Write what the candidates gave.

    Args:
        source: A manifest, or the data set's folder.
        out: The study's folder.
        data: The images.
        splits: Of the main ones.
        finished: For each candidate its folds, in the order of the splits.
        machine: What they were computed on.
    """
    classes = len(data.main.task.classes)
    results = _results(
        source,
        next(iter(finished)).options,
        data,
        splits,
        [
            Candidate(
                name=candidate.name,
                purpose=candidate.purpose,
                options=candidate.options,
                weights=prepare.weights_in_words(candidate.options),
                parameters=_parameters(candidate.options, classes),
                folds=[fold.result for fold in folds],
            )
            for candidate, folds in finished.items()
        ],
    )
    run = Run(
        device=machine.describe(),
        precision=machine.precision,
        versions=prepare.versions(),
        finished=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        seconds={planned.name: [round(fold.seconds, 3) for fold in folds] for planned, folds in finished.items()},
    )
    write_atomically(out / RESULTS_FILE, lambda file: file.write(results.model_dump_json(indent=1).encode()))
    write_atomically(out / RUN_FILE, lambda file: file.write(run.model_dump_json(indent=1).encode()))
    return Study(results, run)


def _run(
    candidate: Planned,
    data: TrainingData,
    splits: Sequence[Split],
    machine: Hardware,
    *,
    out: Path,
    cache: Path,
    progress: bool,
) -> list[FinishedFold]:
    identity = prepare.identity(data, candidate.options, machine, splits)
    store = FoldStore.of(out / "folds", candidate.name, identity)
    fitter = prepare.make_fitter(data, candidate.options, machine, cache=cache, progress=progress)
    classes = len(data.main.task.classes)
    return run_folds(
        fitter, splits, store,
        # One candidate's too high learning rate is a finding, not the end of the study.
        diverged=lambda split: diverged_fold(split, classes),
        epochs=candidate.options.most_epochs, title=candidate.name, progress=progress,
    )  # fmt: skip


def _parameters(options: FitOptions, classes: int) -> int:
    module = networks.create(options.network, classes=classes)
    return sum(parameter.numel() for parameter in module.parameters())


def _results(
    source: Path, options: FitOptions, data: TrainingData, splits: Sequence[Split], finished: list[Candidate]
) -> StudyResults:
    main = data.main
    root = source if source.is_dir() else source.parent
    magnifications = sorted({image.magnification for image in main.images if image.magnification}, key=_zoom)
    return StudyResults(
        task=options.task,
        protocol=options.protocol,
        protocol_note=PROTOCOL_NOTES[options.protocol],
        leaks=any(split.leaks_patients for split in splits),
        seed=options.seed,
        magnifications=magnifications,
        synthetic=main.synthetic,
        data=prepare.describe_data(data),
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


def _zoom(magnification: str) -> int:
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
            f"Few patients stand behind some classes ({counted}): one more or fewer changes their figures a lot."
        )
    if any(split.leaks_patients for split in splits):
        shared = sum(len(set(main.patients[s.test]) & set(main.patients[s.train])) for s in splits)
        tested = sum(len(set(main.patients[s.test])) for s in splits)
        warnings.append(
            f"Of {tested} patients tested, counted fold by fold, {shared} are also trained on in the same fold: these "
            "figures do not say how well new patients would be judged."
        )
    return warnings
