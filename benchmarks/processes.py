"""The processor time and memory of processes, from /proc."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_TICK = 1 / os.sysconf("SC_CLK_TCK")


def family(pid: int) -> list[int]:
    """Return the ids of a process and its descendants."""
    found = [pid]
    for parent in found:  # grows meanwhile
        for task in Path(f"/proc/{parent}/task").glob("*"):
            with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended since
                found += map(int, (task / "children").read_text().split())
    return found


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the processor time that processes have used, in seconds."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])  # in user and in kernel mode
    return ticks * _TICK


def resident(pids: Iterable[int]) -> float:
    """Return the resident memory in MB; shared pages count for each process."""
    return _sum(pids, "Rss:")


def unique(pids: Iterable[int]) -> float:
    """Return the private memory in MB, which would be free if the processes ended."""
    return _sum(pids, "Private_Clean:", "Private_Dirty:")


def _sum(pids: Iterable[int], *names: str) -> float:
    lines = [line.split() for pid in pids for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()]
    return sum(int(line[1]) for line in lines if line[0] in names) / 1024
