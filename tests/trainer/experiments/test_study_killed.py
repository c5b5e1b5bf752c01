"""A study that was killed, or stopped with Ctrl-C, ends with the numbers of an undisturbed one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

COMMAND = (
    "--network", "squeezenet:scratch", "--network", "efficientnet_lite0", "--folds", "3", "--epochs", "3",
    "--draws", "2", "--batch-size", "8", "--device", "cpu", "--precision", "float32", "--ema", "0.9",
)  # fmt: skip


def start(tree: Path, out: Path, cache: Path) -> subprocess.Popen[bytes]:
    arguments = [sys.executable, "-m", "trainer", "study", "--data", tree, "--out", out, "--cache", cache, *COMMAND]
    return subprocess.Popen(
        [str(argument) for argument in arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def comparable(out: Path) -> dict[str, bytes]:
    """Return the contents of all files that an interruption must not change."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name not in {"run.json", "report.html", "report.md"} and "folds" not in path.parts
    }


@pytest.fixture(scope="module")
def undisturbed(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study that nobody disturbed, beside its cache."""
    out = tmp_path_factory.mktemp("study") / "undisturbed"
    assert start(tree, out, out.parent / "cache").wait() == 0
    return out


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_study_that_was_killed_ends_as_if_it_had_not_been(
    how: signal.Signals, tree: Path, undisturbed: Path, tmp_path: Path
) -> None:
    cache = undisturbed.parent / "cache"
    killed = start(tree, tmp_path / "killed", cache)
    deadline = time.monotonic() + 120
    # In the middle of fold 2: its first epoch is kept, its result is not.
    while not list((tmp_path / "killed" / "folds").glob("squeezenet*/fold001/seed0.pt")):
        assert killed.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    killed.send_signal(how)
    assert killed.wait() == (-signal.SIGKILL if how == signal.SIGKILL else 130)
    assert not (tmp_path / "killed" / "results.json").exists()
    assert start(tree, tmp_path / "killed", cache).wait() == 0
    expected = comparable(undisturbed)
    assert {"results.json", "predictions.csv"} <= expected.keys()
    assert comparable(tmp_path / "killed") == expected
    assert not list((tmp_path / "killed" / "folds").rglob("*.pt"))
