"""Signals from jobs and workers to the apps above."""

from django.dispatch import Signal

jobs_changed = Signal()
"""Sent by the ledger within its transaction. sender: the job's model; ids: list of primary keys."""

worker_starting = Signal()
"""Sent in a worker process before it counts as alive. sender: None; queue: the name of its queue."""

worker_beating = Signal()
"""Sent in a worker process at each heartbeat, from the heartbeat thread. sender: None; queue: the name of its queue."""

wake_up = Signal()
"""Sent when jobs of a model are due. sender: the job's model. Receivers send the Celery message."""
