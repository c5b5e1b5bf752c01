"""The Celery application: JSON messages that say "there is work" and carry no data.

Who works on what is decided by the ledger (`patchvote.jobs.ledger`), never by a message: a lost, doubled or late one
does no harm.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from celery import Celery, Task
from celery.signals import setup_logging
from kombu.exceptions import OperationalError

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "patchvote.settings")

logger = logging.getLogger(__name__)

app = Celery("patchvote")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@setup_logging.connect
def _keep_logging(**_: Any) -> None:
    """Django's LOGGING holds in workers too: a receiver of this signal keeps Celery from setting up its own."""


def wake(task: Task[[], None]) -> bool:
    """Send a wake-up; a broker that cannot be reached is no error, since the sweep sends another one.

    Args:
        task: Takes no arguments.

    Returns:
        Whether the broker took it.
    """
    try:
        # A wake-up that nobody read soon has been followed by the sweep's: let it expire instead of piling up.
        task.apply_async(retry=False, expires=60)
    except (OperationalError, OSError) as error:
        logger.warning("the broker cannot be reached, the sweep will wake the workers later: %s", error)
        return False
    return True
