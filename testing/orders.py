"""Orders of training workers, done in this process or by real children."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from trainer.worker.dispatch import perform
from trainer.worker.protocol import (
    LOG_FILE,
    Event,
    Failed,
    LabelledFile,
    Order,
    Outcome,
    Succeeded,
    read_event,
    write_order,
)


def do(folder: Path, order: Order) -> tuple[Outcome, list[Event]]:
    """Do an order in this process, and return its outcome and its events."""
    write_order(folder, order)
    output = io.BytesIO()
    return perform(folder, output), events(output.getvalue())


def succeed(folder: Path, order: Order) -> dict[str, Any]:
    """Do an order that must succeed, and return its result."""
    outcome, _ = do(folder, order)
    assert isinstance(outcome, Succeeded), outcome
    return outcome.result


def fail(folder: Path, order: Order) -> Failed:
    """Do an order that must fail, and return the failure; no sentence of it may show a path of this machine."""
    outcome, _ = do(folder, order)
    assert isinstance(outcome, Failed), outcome
    for sentence in (outcome.message, *outcome.details):
        assert str(folder.parent) not in sentence, sentence
        assert sentence.endswith((".", "…")), sentence
    return outcome


def start(folder: Path) -> subprocess.Popen[bytes]:
    """Start a real child; it ends as soon as its standard input is closed."""
    with (folder / LOG_FILE).open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "trainer.worker", str(folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip


def events(lines: bytes) -> list[Event]:
    """Return the events of these lines; each line must be one."""
    told = [read_event(line) for line in lines.splitlines()]
    assert None not in told, lines
    return [event for event in told if event is not None]


def labelled(source: Path, checked: dict[str, Any]) -> tuple[LabelledFile, ...]:
    """Return the images of a check's result as a comparison takes them."""
    return tuple(
        LabelledFile(
            path=source / one["path"], **{key: one[key] for key in ("sha256", "label", "patient", "magnification")}
        )
        for one in checked["images"]
    )
