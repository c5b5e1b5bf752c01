"""What the ledger tells the apps above it."""

from django.dispatch import Signal

jobs_changed = Signal()
"""Sent by the ledger within its transaction. sender: the job's model; ids: list of primary keys."""

worker_starting = Signal()
"""Sent in a worker process before it counts as alive. sender: None; queue: what it works on."""

worker_beating = Signal()
"""Sent in a living worker process every few seconds, from the thread that beats. sender: None; queue: as above."""

wake_up = Signal()
"""Sent when jobs of a model are due. sender: the job's model. Receivers send the Celery message."""
