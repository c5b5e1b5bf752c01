"""Made-up results of studies: plausible, small, and without any image."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.choices import Protocol
from trainer.data.splits import PROTOCOL_NOTES
from trainer.data.tasks import TASKS, TaskName
from trainer.evaluation.out_of_fold import fold_result
from trainer.evaluation.results import Candidate, ImageRecord, Purpose, Run, SplitRecord, StudyResults
from trainer.options import FitOptions
from trainer.schemas import Epoch, FoldResult, PatchMetrics

PATCHES = 15

_BENIGN, _MALIGNANT = TASKS["subtype"].classes[:4], TASKS["subtype"].classes[4:]


def images(patients: int = 16, each: int = 4, task: TaskName = "malignancy") -> list[ImageRecord]:
    """Return records of images; a third of the patients are benign, and the first patient has one image less."""
    records = []
    for number in range(patients):
        malignant = number % 3 != 0
        subtype = (_MALIGNANT if malignant else _BENIGN)[(number // 3) % 4]
        for image in range(each - (number == 0)):
            file = f"{subtype}/SOB_{number:02}-40-{image:03}.png"
            records.append(
                ImageRecord(
                    file=file, sha256=hashlib.sha256(file.encode()).hexdigest(), patient=f"14-{number:05}",
                    label=subtype if task == "subtype" else ("malignant" if malignant else "benign"),
                    subtype=subtype, slide=f"14-{number:05}A", magnification="40X",
                )
            )  # fmt: skip
    return records


def cut(records: Sequence[ImageRecord], folds: int, repeats: int, *, by_image: bool = False) -> list[list[int]]:
    """Return the test images of each split: folds by patient or by image, shuffled differently in each repeat."""
    tests = []
    for repeat in range(repeats):
        keys = [str(at) if by_image else record.patient for at, record in enumerate(records)]
        names = np.random.default_rng(repeat).permutation(sorted(set(keys)))
        for fold in range(folds):
            members = set(names[fold::folds].tolist())
            tests.append([at for at, key in enumerate(keys) if key in members])
    return tests


def candidate(
    records: Sequence[ImageRecord], tests: Sequence[list[int]], name: str, *, seed: int, skill: float = 1.5,
    purpose: Purpose = "comparison", task: TaskName = "malignancy", **options: Any,
) -> Candidate:  # fmt: skip
    """Return a candidate whose logits are the labels with noise of patient, image, patch and fold."""
    chosen = FitOptions(task=task, **{"network": "resnet18", "mode": "scratch", **options})
    classes = TASKS[task].classes
    random = np.random.default_rng(seed)
    labels = np.array([classes.index(record.label) for record in records])
    patients = np.unique([record.patient for record in records], return_inverse=True)[1]
    of_patient = random.normal(0, 0.8, (patients.max() + 1, len(classes)))
    of_image = of_patient[patients] + random.normal(0, 0.5, (labels.size, len(classes)))
    folds = [
        _fold(f"fold {number}", np.array(test), labels, skill * np.eye(len(classes))[labels] + of_image, random, chosen)
        for number, test in enumerate(tests, 1)
    ]
    return Candidate(
        name=name, purpose=purpose, options=chosen, weights="random start", parameters=11_177_538, folds=folds
    )


def _fold(  # noqa: PLR0917
    name: str, test: NDArray[np.intp], labels: NDArray[np.int64], means: NDArray[np.float64],
    random: np.random.Generator, options: FitOptions,
) -> FoldResult:  # fmt: skip
    logits = [means[at] + random.normal(0, 0.7, (PATCHES, means.shape[1])) for at in test]
    epochs = [] if options.mode == "frozen" else _epochs(random, options.epochs)
    kept = min(epochs, key=lambda epoch: epoch.stopping_loss or 0) if epochs else None
    return fold_result(
        name, test, labels[test], logits,
        training=kept.training if kept else PatchMetrics(accuracy=0.93, loss=0.2),
        validation=kept.validation if kept else None,
        epochs=epochs,
        best_epoch=kept.number if kept else None,
    )  # fmt: skip


def _epochs(random: np.random.Generator, most: int) -> list[Epoch]:
    epochs = []
    for number in range(1, most - int(random.integers(0, most // 3 + 1)) + 1):
        learnt, noise = 1 - np.exp(-number / 4), random.normal(0, 0.01, 4)
        validation = PatchMetrics(accuracy=0.6 + 0.25 * learnt + noise[0], loss=0.65 - 0.3 * learnt + noise[1])
        epochs.append(
            Epoch(
                number=number,
                training=PatchMetrics(accuracy=0.6 + 0.38 * learnt + noise[2], loss=0.7 - 0.6 * learnt + noise[3]),
                validation=validation,
                stopping_loss=validation.loss + 0.01,
            )
        )
    return epochs


def study(
    records: Sequence[ImageRecord] | None = None,
    *,
    protocol: Protocol = "patient",
    task: TaskName = "malignancy",
    folds: int = 4,
    repeats: int = 1,
    candidates: Sequence[dict[str, Any]] = ({"name": "resnet18 scratch"},),
    seed: int = 0,
    synthetic: bool = False,
) -> StudyResults:
    """Return a study of made-up candidates; each is given by the keywords of `candidate`."""
    records = images(task=task) if records is None else list(records)
    leaks = protocol in {"thesis", "official"}
    if protocol == "lopo":
        folds = len({record.patient for record in records})
    tests = cut(records, folds, repeats, by_image=leaks)
    patients = [{records[at].patient for at in test} for test in tests]
    made = [
        candidate(records, tests, **{"seed": seed + number, "task": task, "protocol": protocol, **keywords})
        for number, keywords in enumerate(candidates)
    ]
    splits = [
        SplitRecord(
            name=f"fold {number + 1}", repeat=number // folds, test_images=len(test),
            test_patients=len(patients[number]),
            shared_patients=len(patients[number]) if leaks else 0,
        )
        for number, test in enumerate(tests)
    ]  # fmt: skip
    return StudyResults(
        task=task, protocol=protocol, protocol_note=PROTOCOL_NOTES[protocol], leaks=leaks, seed=seed,
        magnifications=["40X"], synthetic=synthetic,
        data={"fingerprint": "0123456789abcdef" * 4, "citation": "Made up for a test."},
        notes=["Case 13412 is filed twice; one copy was kept."],
        images=records, splits=splits, candidates=made,
    )  # fmt: skip


def full(repeats: int = 2, *, patients: int = 24, each: int = 5, **options: Any) -> StudyResults:
    """Return a study with all kinds of candidates: frozen and trained ones, other rates, fewer epochs; with repeats."""
    return study(
        images(patients, each), repeats=repeats,
        candidates=[
            {"name": "alexnet scratch", "network": "alexnet", "skill": 1.0, "epochs": 20},
            {"name": "resnet18 scratch", "skill": 1.6},
            {"name": "efficientnet_lite0 frozen", "network": "efficientnet_lite0", "mode": "frozen", "skill": 2.2},
            {"name": "shufflenet_v2 scratch", "network": "shufflenet_v2", "threshold_rule": "youden"},
            {"name": "alexnet scratch, rate 0.01", "network": "alexnet", "purpose": "rate", "learning_rate": 0.01},
            {"name": "alexnet scratch, rate 0.05", "network": "alexnet", "purpose": "rate", "learning_rate": 0.05},
            {"name": "alexnet scratch, 10 epochs", "network": "alexnet", "purpose": "epochs", "epochs": 10},
        ],
        **options,
    )  # fmt: skip


def subtypes(**options: Any) -> StudyResults:
    """Return a study of the eight tumour types."""
    return study(
        images(30, 3, "subtype"), task="subtype",
        candidates=[
            {"name": "resnet18 finetune", "mode": "finetune", "skill": 1.8},
            {"name": "efficientnet_lite0 frozen", "network": "efficientnet_lite0", "mode": "frozen", "skill": 2.5},
        ],
        **options,
    )  # fmt: skip


def ran(results: StudyResults, *, device: str = "CPU, 2 cores", finished: str = "2026-01-02T03:04:05+00:00") -> Run:
    """Return a run of a study, with 1.5 seconds per fold."""
    return Run(
        device=device, precision="float32", versions={"python": "3.11.9", "torch": "2.13.0"}, finished=finished,
        seconds={one.name: [1.5] * len(one.folds) for one in results.candidates},
    )  # fmt: skip
