"""What long work says of itself."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from testing.options import FINETUNE, FROZEN
from trainer.experiments.fit import fit
from trainer.schemas import Epoch, FoldResult
from trainer.utils.progress import ProgressBar, Stage, listening
from trainer.worker import event_writer
from trainer.worker.event_writer import EventWriter
from trainer.worker.protocol import Progress, read_event

pytestmark = pytest.mark.usefixtures("torch_started")


class Notes:
    """A listener that writes everything down."""

    def __init__(self) -> None:
        self.advances: list[tuple[Stage, int, int]] = []
        self.epochs: list[tuple[int, int, int]] = []
        self.folds: list[tuple[int, int, str]] = []

    def on_progress(self, stage: Stage, done: int, total: int) -> None:
        self.advances.append((stage, done, total))

    def on_epoch_end(self, fold: int, folds: int, epoch: Epoch) -> None:
        self.epochs.append((fold, folds, epoch.number))

    def on_fold_end(self, fold: int, folds: int, result: FoldResult, seconds: float) -> None:
        assert seconds >= 0
        self.folds.append((fold, folds, result.name))


@pytest.mark.parametrize("drawn", [True, False])
def test_a_bar_tells_each_step_whether_it_is_drawn_or_not(drawn: bool, capfd: pytest.CaptureFixture[str]) -> None:
    notes = Notes()
    with listening(notes):
        assert list(ProgressBar("abc", stage=Stage.READING, disable=not drawn)) == ["a", "b", "c"]
        with ProgressBar(stage=Stage.FOLDS, total=4, initial=1, disable=not drawn) as bar:
            bar.update()
            bar.update(2)
            assert bar.n == 4
    told = [(Stage.READING, n, 3) for n in range(4)] + [(Stage.FOLDS, n, 4) for n in (1, 2, 4)]
    assert notes.advances == told
    assert ("Reading images" in capfd.readouterr().err) == drawn


def test_nobody_need_listen() -> None:
    notes = Notes()
    with listening(notes):
        pass
    assert list(ProgressBar([1, 2], stage=Stage.READING, disable=True)) == [1, 2]
    assert not notes.advances


def test_a_loop_that_is_left_counts_what_was_done() -> None:
    notes = Notes()
    with listening(notes):
        for item in ProgressBar(range(5), stage=Stage.READING, disable=True):
            if item == 2:
                break
    assert notes.advances[-1] == (Stage.READING, 2, 5)


def test_a_fit_tells_stages_epochs_and_folds(tree: Path, tmp_path: Path) -> None:
    notes = Notes()
    with listening(notes):
        fit(tree, tmp_path / "a", FINETUNE.replace(seeds=2), device="cpu", cache=tmp_path)
    # Of two seeds the first one's epochs are told; both are counted.
    assert notes.epochs == [(fold, 2, number) for fold in range(3) for number in (1, 2)][: len(notes.epochs)]
    assert len(notes.epochs) >= 5
    assert [fold for fold, _, _ in notes.folds] == [0, 1]
    assert (Stage.EPOCHS, 4, 4) in notes.advances
    assert (Stage.FOLDS, 2, 2) in notes.advances
    assert notes.advances[0] == (Stage.READING, 0, 8)


def test_features_that_are_there_are_counted_from_the_start(tree: Path, tmp_path: Path) -> None:
    for there in (0, 8):
        notes = Notes()
        with listening(notes):
            fit(tree, tmp_path / f"a{there}", FROZEN, device="cpu", cache=tmp_path / "cache")
        told = [done for stage, done, total in notes.advances if stage is Stage.FEATURES and total == 8]
        assert told == list(range(there, 9))


class Clock:
    """A clock that tests move by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the events' writer."""
    clock = Clock()
    monkeypatch.setattr(event_writer, "time", clock)
    return clock


def progress(clock: Clock, writer: Any, output: io.BytesIO, *advances: tuple[Stage, int, int]) -> list[float]:
    """Return the fraction after each step; the steps are a second apart."""
    fractions = []
    for advance in advances:
        clock.now += 1
        writer.on_progress(*advance)
        event = read_event(output.getvalue().splitlines()[-1])
        assert isinstance(event, Progress)
        fractions.append(event.fraction)
    return fractions


def test_the_fraction_is_of_the_whole_order_and_never_falls(clock: Clock) -> None:
    output = io.BytesIO()
    writer = EventWriter(output)
    assert progress(clock, writer, output, (Stage.READING, 3, 4)) == [0]  # the shares of the stages are not known yet
    writer.expect({Stage.READING: 1, Stage.FOLDS: 6, Stage.REPORT: 1, Stage.FINAL: 2})
    assert progress(
        clock, writer, output,
        (Stage.READING, 4, 4), (Stage.FOLDS, 0, 2), (Stage.EPOCHS, 0, 3), (Stage.EPOCHS, 2, 3), (Stage.READING, 1, 4),
        (Stage.FOLDS, 1, 2), (Stage.EPOCHS, 0, 3), (Stage.FOLDS, 2, 2), (Stage.REPORT, 0, 1), (Stage.FINAL, 0, 0),
        (Stage.FINAL, 1, 2),
    ) == pytest.approx([0.1, 0.1, 0.1, 0.3, 0.3, 0.4, 0.4, 0.7, 0.7, 0.8, 0.9])  # fmt: skip


def test_progress_is_written_at_most_four_times_a_second(clock: Clock) -> None:
    output = io.BytesIO()
    writer = EventWriter(output)
    writer.expect({Stage.READING: 1})
    for done in range(1000):
        writer.on_progress(Stage.READING, done, 1000)
        clock.now += 0.002
    assert len(output.getvalue().splitlines()) == 8
