"""Real child processes: they end with their parent, do nothing twice, and may be killed at any moment."""

from __future__ import annotations

import fcntl
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from classifier.bundle import Bundle
from classifier.grid import PatchGrid
from testing.orders import do, events, labelled, start
from trainer.options import FitOptions
from trainer.worker.protocol import (
    ORPHANED,
    CheckOrder,
    CompareOrder,
    EpochDone,
    Event,
    Failed,
    FoldDone,
    Order,
    Progress,
    Succeeded,
    TrainOrder,
    read_event,
    read_outcome,
    write_order,
    write_outcome,
)

OPTIONS = FitOptions(
    network="squeezenet", mode="scratch", grid=PatchGrid(size=64, stride=80), folds=3, epochs=6, draws=8, batch_size=8
)


def finish(folder: Path) -> bytes:
    """Run a child to its end, and return the events that it wrote."""
    child = start(folder)
    assert child.stdin is not None and child.stdout is not None
    written = child.stdout.read()
    assert child.wait(120) == 0, (folder / "log.txt").read_text()
    child.stdin.close()
    return written


@dataclass(frozen=True)
class Moment:
    """A moment to kill a child at: a random while after its first event that passes the filter, or after its start."""

    event: Callable[[Event], bool] | None
    longest: float

    def wait(self, child: subprocess.Popen[bytes], chance: random.Random) -> None:
        """Wait until the moment has come."""
        assert child.stdout is not None
        while self.event is not None:
            line = child.stdout.readline()
            assert line, "the child ended before the moment came"
            event = read_event(line)
            if event is not None and self.event(event):
                break
        time.sleep(chance.uniform(0, self.longest))


def kill_often(folder: Path, order: Order, moments: Sequence[Moment], seed: int) -> None:
    """Do an order with one child per moment, each killed at its moment, and a last one that nobody disturbs."""
    write_order(folder, order)
    chance = random.Random(seed)
    for moment in moments:
        child = start(folder)
        moment.wait(child, chance)
        child.send_signal(signal.SIGKILL)
        assert child.wait(10) == -signal.SIGKILL, "the child ended before it was killed"
        for pipe in (child.stdin, child.stdout):
            pipe.close()
    finish(folder)


@pytest.mark.slow
def test_a_child_ends_with_its_parent(tree: Path, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    write_order(
        folder, TrainOrder(source=tree, name="a", options=OPTIONS.replace(epochs=500, patience=500), cache=tmp_path)
    )
    child = start(folder)
    assert child.stdout is not None and child.stdin is not None
    while b'"epoch"' not in child.stdout.readline():  # in the middle of its work
        pass
    child.stdin.close()
    started = time.monotonic()
    child.stdout.read()
    assert child.wait(10) == ORPHANED
    assert time.monotonic() - started < 5
    assert read_outcome(folder) is None


def test_a_second_child_finds_the_outcome_and_ends_at_once(tmp_path: Path) -> None:
    outcome = Failed(code="failed", message="It failed.")
    write_outcome(tmp_path, outcome)
    started = time.monotonic()
    assert finish(tmp_path) == b""
    assert time.monotonic() - started < 20
    assert read_outcome(tmp_path) == outcome


def test_a_child_waits_for_an_earlier_one_that_is_still_dying(tree: Path, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    write_order(folder, CheckOrder(source=tree, cache=tmp_path / "cache"))
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        child = start(folder)
        time.sleep(2)
        assert child.poll() is None
        assert read_outcome(folder) is None
    assert child.wait(60) == 0
    assert isinstance(read_outcome(folder), Succeeded)


def test_there_must_be_a_folder(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "trainer.worker", str(tmp_path / "nowhere")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.wait(60) == 2
        assert child.stderr is not None and b"There is no folder" in child.stderr.read()


@pytest.mark.slow
@pytest.mark.faults
def test_killed_at_random_moments_a_run_ends_as_if_it_had_not_been(tree: Path, tmp_path: Path) -> None:
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    order = TrainOrder(source=tree, name="a", options=OPTIONS, cache=tmp_path / "cache", device="cpu")
    write_order(undisturbed, order)
    written = events(finish(undisturbed))
    order = order.model_copy(update={"cache": tmp_path / "another"})
    moments = [
        Moment(None, 2),  # while it imports
        Moment(lambda event: isinstance(event, EpochDone) and (event.fold, event.epoch.number) == (0, 2), 0.1),
        Moment(lambda event: isinstance(event, EpochDone) and (event.fold, event.epoch.number) == (1, 3), 0.1),
        Moment(lambda event: isinstance(event, FoldDone) and event.fold == 2, 0.3),  # while it writes the report
        Moment(lambda event: isinstance(event, EpochDone) and event.fold == 3, 0.1),  # in the final fit
    ]
    kill_often(killed, order, moments, seed=4)
    first, second = read_outcome(undisturbed), read_outcome(killed)
    assert isinstance(first, Succeeded) and isinstance(second, Succeeded)
    assert {**first.result, "seconds": 0} == {**second.result, "seconds": 0}
    files = ["results.json", *sorted(path.name for path in undisturbed.glob("*.csv"))]
    assert len(files) > 2
    for name in files:
        assert (undisturbed / name).read_bytes() == (killed / name).read_bytes(), name
    a, b = (Bundle.load(folder / "bundle").metadata for folder in (undisturbed, killed))
    assert a.weights_sha256 == b.weights_sha256
    plain = [json.loads(one.model_dump_json()) for one in (a, b)]
    for one in plain:
        del one["training"]["seconds"]
    assert plain[0] == plain[1]
    assert not [path for path in killed.rglob("*") if path.name.startswith((".part-", ".bundle-"))]
    # If the outcome is lost, doing the order again writes all events again.
    (killed / "outcome.json").unlink()
    outcome, retold = do(killed, order)
    assert isinstance(outcome, Succeeded)
    for kind in (EpochDone, FoldDone):
        strip = [e.model_dump(exclude={"seconds"}) for e in written if isinstance(e, kind)]
        assert [e.model_dump(exclude={"seconds"}) for e in retold if isinstance(e, kind)] == strip


@pytest.mark.slow
@pytest.mark.faults
def test_killed_at_random_moments_a_comparison_ends_as_if_it_had_not_been(
    tree: Path, checked: dict[str, Any], tiny_bundle: Bundle, tmp_path: Path
) -> None:
    order = CompareOrder(
        champion=tiny_bundle.folder, candidate=tiny_bundle.folder, images=labelled(tree, checked), device="cpu"
    )
    write_order(tmp_path / "undisturbed", order)
    finish(tmp_path / "undisturbed")
    moments = [Moment(None, 2), Moment(lambda event: isinstance(event, Progress), 0.01)]
    kill_often(tmp_path / "killed", order, moments, seed=1)
    first = read_outcome(tmp_path / "undisturbed")
    assert isinstance(first, Succeeded)
    assert first == read_outcome(tmp_path / "killed")
    assert first.result["verdicts_differ"] == 0
    assert all(one["difference"]["value"] == 0 for one in first.result["measures"])
