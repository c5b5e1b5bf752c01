"""Real children: they end with their parent, do nothing twice, and may be killed at any moment."""

from __future__ import annotations

import fcntl
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from classifier.bundle import Bundle
from classifier.grid import PatchGrid
from testing.orders import events, labelled, start
from trainer.options import FitOptions
from trainer.worker.protocol import (
    ORPHANED,
    CheckOrder,
    CompareOrder,
    EpochDone,
    Failed,
    FoldDone,
    Order,
    Succeeded,
    TrainOrder,
    read_outcome,
    write_order,
    write_outcome,
)

OPTIONS = FitOptions(
    network="squeezenet", mode="scratch", grid=PatchGrid(size=64, stride=80), folds=3, epochs=6, draws=8, batch_size=8
)


def finish(folder: Path) -> bytes:
    """Wait for a child that nobody disturbs; what it told."""
    child = start(folder)
    assert child.stdin is not None and child.stdout is not None
    told = child.stdout.read()
    assert child.wait(60) == 0, (folder / "log.txt").read_text()
    child.stdin.close()
    return told


def kill_often(folder: Path, order: Order, times: int, seed: int, longest: float = 9.0) -> int:
    """Do an order with children of which the first ones are killed somewhere; how many were."""
    write_order(folder, order)
    moments, killed = random.Random(seed), 0
    for _ in range(times):
        child = start(folder)
        try:
            child.wait(moments.uniform(0.1, longest))
        except subprocess.TimeoutExpired:  # it still works: that was the point
            child.send_signal(signal.SIGKILL)
            assert child.wait(10) == -signal.SIGKILL
            killed += 1
        for pipe in (child.stdin, child.stdout):
            pipe.close()
    finish(folder)
    return killed


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
        time.sleep(4)
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
    told = events(finish(undisturbed))
    order = order.model_copy(update={"cache": tmp_path / "another"})
    assert kill_often(killed, order, 10, seed=4) >= 5
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
    # A child that starts after the outcome is lost tells everything again.
    (killed / "outcome.json").unlink()
    retold = events(finish(killed))
    for kind in (EpochDone, FoldDone):
        strip = [e.model_dump(exclude={"seconds"}) for e in told if isinstance(e, kind)]
        assert [e.model_dump(exclude={"seconds"}) for e in retold if isinstance(e, kind)] == strip


@pytest.mark.slow
@pytest.mark.faults
def test_killed_at_random_moments_a_comparison_ends_as_if_it_had_not_been(
    tree: Path, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    check = tmp_path / "check"
    write_order(check, CheckOrder(source=tree, cache=tmp_path / "cache"))
    finish(check)
    checked = read_outcome(check)
    assert isinstance(checked, Succeeded)
    order = CompareOrder(
        champion=tiny_bundle.folder, candidate=tiny_bundle.folder, images=labelled(tree, checked.result), device="cpu"
    )
    write_order(tmp_path / "undisturbed", order)
    finish(tmp_path / "undisturbed")
    kill_often(tmp_path / "killed", order, 5, seed=1)
    first = read_outcome(tmp_path / "undisturbed")
    assert isinstance(first, Succeeded)
    assert first == read_outcome(tmp_path / "killed")
    assert first.result["verdicts_differ"] == 0
    assert all(one["difference"]["value"] == 0 for one in first.result["measures"])
