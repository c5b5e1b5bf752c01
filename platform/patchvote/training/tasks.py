"""Celery tasks of the queue `training`."""

from __future__ import annotations

from patchvote.celery import app


@app.task(name="patchvote.training.work_on_due")
def work_on_due() -> None:
    """Work until the queue is empty."""
    from patchvote.training import worker

    worker.work()
