"""The memory benchmark reads how much memory the processes of an installation use."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import Any

import pytest

from benchmarks import processes


@pytest.mark.slow
def test_it_prints_memory_on_the_way_and_growth(run: Any, prepared: None) -> None:
    printed, figures = run("memory", "--images", "12", "--clients", "2")
    assert figures["points"].keys() == {"1", "12"}
    for point in figures["points"].values():
        assert point["inference"]["rss"] > point["inference"]["uss"] > 50
        assert point["web"]["rss"] > 50
    assert re.search(r"inference +[+-]\d+\.\d MB, \d\.\d\d times", printed)


def test_a_family_is_a_process_and_what_it_started() -> None:
    program = "import subprocess, sys; print(subprocess.Popen(['sleep', '30']).pid, flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert processes.family(parent.pid) == [parent.pid, child]
        assert processes.resident([parent.pid]) > processes.unique([parent.pid]) > 0
        assert processes.cpu_seconds([os.getpid()]) > 0
        os.kill(child, 15)
        parent.terminate()
