"""What processes use: processor seconds and memory, from /proc."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_TICK = 1 / os.sysconf("SC_CLK_TCK")


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found = [pid]
    for parent in found:  # grows meanwhile
        for task in Path(f"/proc/{parent}/task").glob("*"):
            with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended since
                found += map(int, (task / "children").read_text().split())
    return found


def cpu_seconds(pids: Iterable[int]) -> float:
    """Processor seconds that processes have used so far."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])  # in user and in kernel mode
    return ticks * _TICK


def resident(pids: Iterable[int]) -> float:
    """Resident memory in MB, what processes share counted for each."""
    return _sum(pids, "Rss:")


def unique(pids: Iterable[int]) -> float:
    """Memory in MB that would be free if the processes ended: what is theirs alone."""
    return _sum(pids, "Private_Clean:", "Private_Dirty:")


def _sum(pids: Iterable[int], *names: str) -> float:
    lines = [line.split() for pid in pids for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()]
    return sum(int(line[1]) for line in lines if line[0] in names) / 1024
