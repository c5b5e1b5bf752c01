"""Training runs: from the queue to a model version."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from patchvote.jobs.models import State
from patchvote.registry import services as registry
from patchvote.training import runs
from patchvote.training.child import Child
from patchvote.training.job_registry import RUNS
from patchvote.training.models import Comparison, DataSet, TrainingRun
from testing.options import LONG
from testing.training import QUICK, TRAINED
from trainer.worker.protocol import read_outcome

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("torch_started")]


@pytest.mark.slow
def test_a_run_becomes_a_model_version_that_does_not_serve_yet(
    start: Any, train: Callable[[], None], make_user: Any, tiny_champion: Any, real_children: Any
) -> None:
    ada = make_user("ada", "admin")
    run = start(created_by=ada)
    train()
    run.refresh_from_db()
    assert run.state == State.SUCCEEDED, (run.error, run.log_end())
    version = run.model_version
    assert version is not None
    assert (version.name, version.version, version.created_by, version.origin) == ("mine-40x", 1, ada, "run")
    assert registry.champion() == tiny_champion
    assert run.metrics["balanced_accuracy"]["value"] > 0.5
    assert run.report.is_file()
    assert [fold.number for fold in run.folds.all()] == [0, 1]
    assert run.progress == 1
    assert version.seen is not None
    assert len(version.seen.patients) == 8
    assert version.bundle().metadata.data["fingerprint"] == run.data_set.fingerprint
    assert not Comparison.objects.exists()  # no comparison starts by itself on synthetic images
    assert {path.name for path in run.folder.iterdir() if path.is_dir()} <= {"figures"}


@pytest.mark.slow
def test_a_finished_run_is_compared_with_the_champion(
    start: Any, train: Callable[[], None], checked: DataSet, tiny_champion: Any
) -> None:
    DataSet.objects.update(synthetic=False)
    run = start()
    train()
    run.refresh_from_db()
    comparison = Comparison.objects.get()
    assert (comparison.candidate, comparison.champion) == (run.model_version, tiny_champion)
    assert (comparison.state, comparison.result["images"]) == (State.SUCCEEDED, 0)


@pytest.mark.slow
def test_epochs_are_kept_as_they_end(start: Any, train: Callable[[], None], tiny_champion: Any) -> None:
    run = start(TRAINED)
    train()
    run.refresh_from_db()
    assert run.state == State.SUCCEEDED, (run.error, run.log_end())
    assert [(epoch.fold, epoch.number) for epoch in run.epochs.all()][:4] == [(0, 1), (0, 2), (1, 1), (1, 2)]
    assert run.epochs.filter(fold=2).exists()
    assert all(epoch.validation_loss is not None for epoch in run.epochs.filter(fold__lt=2))
    assert run.fold_count == 2


@pytest.mark.slow
def test_cancelling_ends_the_training_within_seconds(
    start: Any, train: Callable[[], None], tiny_champion: Any, real_children: Any
) -> None:
    run = start(TRAINED.replace(epochs=LONG.epochs, patience=LONG.patience))
    finished: list[float] = []

    def cancel_when_running() -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not TrainingRun.objects.get(pk=run.pk).epochs.exists():
            time.sleep(0.1)
        runs.cancel(TrainingRun.objects.get(pk=run.pk))
        finished.append(time.monotonic())

    thread = threading.Thread(target=cancel_when_running)
    thread.start()
    train()
    ended = time.monotonic()
    thread.join()
    run.refresh_from_db()
    assert run.state == State.CANCELLED
    assert ended - finished[0] < 10
    with pytest.raises(runs.RunEndedError):
        runs.cancel(run)


def test_a_data_set_that_has_not_passed_its_check_is_refused(data_set: DataSet) -> None:
    with pytest.raises(runs.RunRefusedError, match="has not passed its check"):
        runs.start(TrainingRun(data_set=data_set, name="mine"), QUICK)
    assert not TrainingRun.objects.exists()


@pytest.mark.slow
def test_a_vanished_image_fails_the_run_by_name_and_the_worker_goes_on(
    start: Any, train: Callable[[], None], checked: DataSet, tiny_champion: Any
) -> None:
    lost = start()
    image = checked.images.first()
    assert image is not None
    kept = (checked.root / image.path).read_bytes()
    (checked.root / image.path).unlink()
    train()
    lost.refresh_from_db()
    assert (lost.state, lost.error_code) == (State.FAILED, "file_gone")
    assert lost.error_details == [image.path]
    (checked.root / image.path).write_bytes(kept[:-100])
    changed = start()
    train()
    changed.refresh_from_db()
    assert (changed.state, changed.error_code) == (State.FAILED, "data_changed")
    (checked.root / image.path).write_bytes(kept)
    fine = start()
    train()
    fine.refresh_from_db()
    assert fine.state == State.SUCCEEDED


def test_a_loss_that_is_no_number_fails_the_run(start: Any, train: Callable[[], None], tiny_champion: Any) -> None:
    run = start(TRAINED.replace(learning_rate=1e12))
    train()
    run.refresh_from_db()
    assert (run.state, run.error_code) == (State.FAILED, "diverged")
    assert "learning" in run.error


@pytest.mark.slow
def test_a_killed_child_is_followed_by_another_one(start: Any, tiny_champion: Any, real_children: list[Child]) -> None:
    from patchvote.training import worker

    run = start(TRAINED.replace(epochs=4, draws=8))
    slot = worker.Slot(RUNS, [])
    killed, epochs, others = 0, 0, len(real_children)
    while not TrainingRun.objects.get(pk=run.pk).ended:
        slot.step()  # takes the run again each time that its process died
        if killed < 2 and len(real_children) == others + killed + 1 and run.epochs.count() > epochs:
            epochs = run.epochs.count()
            os.kill(real_children[-1].pid, signal.SIGKILL)
            killed += 1
        time.sleep(0.02)
    run.refresh_from_db()
    assert run.state == State.SUCCEEDED, run.error
    assert run.attempts == 3
    assert run.epochs.filter(fold=0).count() == 4


def test_a_child_that_always_dies_fails_the_run(
    start: Any, settings: Any, monkeypatch: pytest.MonkeyPatch, train: Callable[[], None], real_children: Any
) -> None:
    settings.TRAINING_MAX_ATTEMPTS = 2
    run = start()
    monkeypatch.setattr("patchvote.training.child.sys.executable", "/bin/false")
    train()
    run.refresh_from_db()
    assert (run.state, run.attempts) == (State.FAILED, 2)
    assert run.error == TrainingRun.LOST_MESSAGE


def test_a_run_that_is_cancelled_while_it_is_stored_leaves_no_version(start: Any, tiny_champion: Any) -> None:
    from patchvote.registry.models import ModelVersion
    from patchvote.training import worker

    run = start()
    slot = worker.Slot(RUNS, [])
    slot.step()  # the child does all of its work now
    assert read_outcome(run.folder) is not None
    runs.cancel(run)
    slot.step()
    run.refresh_from_db()
    assert run.state == State.CANCELLED
    assert not ModelVersion.objects.filter(name="mine-40x").exists()


@pytest.mark.slow
def test_events_are_kept_until_the_database_takes_them(
    start: Any, train: Callable[[], None], tiny_champion: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from django.db import OperationalError

    from patchvote.training.runs import RunHandler

    run = start()
    stored = RunHandler.handle_event
    failures = iter([True, True])

    def happened(self: RunHandler, job: TrainingRun, event: Any) -> None:
        if next(failures, False):
            raise OperationalError("database is locked")
        stored(self, job, event)

    monkeypatch.setattr(RunHandler, "handle_event", happened)
    train()
    run.refresh_from_db()
    assert run.state == State.SUCCEEDED, run.error
    assert [fold.number for fold in run.folds.all()] == [0, 1]
