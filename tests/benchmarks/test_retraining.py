"""The benchmark of retraining runs on a small data set."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks import retraining
from testing.data_sets import write_small_tree
from testing.stack import Stack


@pytest.mark.slow
def test_it_prints_seconds_and_a_ratio(stack: Stack, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_small_tree(tmp_path / "tree", patients=5, seed=21)
    retraining.measure(stack, tmp_path / "tree", cases=2)
    printed = capsys.readouterr().out
    assert re.search(r"from queued to succeeded: \d+ s", printed)
    assert re.search(r"ratio of the medians: \d+\.\d\d", printed)
