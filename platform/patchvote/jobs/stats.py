"""Measurements of a worker process. Each heartbeat writes them to the worker's row, for `/metrics`.

All functions are thread-safe and take microseconds.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache
from threading import Lock
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram

_registry = CollectorRegistry()
_creating = Lock()
"""Prevents two threads from creating the same counter."""

_batch_size = Histogram(
    "patchvote_batch_size", "Images in one forward pass",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128), registry=_registry,
)  # fmt: skip
_stage_seconds = Histogram(
    "patchvote_stage_seconds", "Seconds that a stage of the work took", ["stage"],
    buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100), registry=_registry,
)  # fmt: skip


def observe_batch(size: int) -> None:
    """Record the number of images in one forward pass."""
    _batch_size.observe(size)


def stage(name: str) -> AbstractContextManager[Any]:
    """Measure the duration of a `with` body: `with stats.stage("decode"):`. A body that raises counts as well."""
    return _stage_seconds.labels(name).time()


def count(what: str, amount: int = 1, **labels: str) -> None:
    """Increase a counter: `stats.count("jobs_ended", kind=…)` increases `patchvote_jobs_ended_total{kind=…}`.

    An amount of 0 creates the counter, so that Prometheus sees its first increase.

    Args:
        what: The name of the counter without prefix and suffix. A counter always has the same labels.
        amount: The increase.
        labels: The values of the labels; each label must have few different values.
    """
    with _creating:
        counter = _counter(what, tuple(sorted(labels)))
    (counter.labels(**labels) if labels else counter).inc(amount)


def snapshot() -> list[dict[str, Any]]:
    """Return all measurements as JSON: a list of families, each with samples of name, labels and value."""
    return [
        {
            "name": family.name,
            "type": family.type,
            "help": family.documentation,
            "samples": [[s.name, s.labels, s.value] for s in family.samples if not s.name.endswith("_created")],
        }
        for family in _registry.collect()
    ]


@cache
def _counter(what: str, labels: tuple[str, ...]) -> Counter:
    return Counter(f"patchvote_{what}", f"{what.replace('_', ' ').capitalize()}", labels, registry=_registry)
