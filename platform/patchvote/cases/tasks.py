"""Celery tasks of the queue `inference`."""

from __future__ import annotations

from patchvote.celery import app


@app.task(name="patchvote.cases.analyse_due")
def analyse_due() -> None:
    """Analyse until the queue is empty."""
    from patchvote.cases.inference import worker

    worker.work()
