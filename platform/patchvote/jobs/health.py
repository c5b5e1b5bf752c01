"""The health check, for load balancers and administrators."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

import redis
from django.conf import settings
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from patchvote.jobs import storage_check
from patchvote.jobs.models import Worker, workers_alive

logger = logging.getLogger(__name__)

T = TypeVar("T")
U = TypeVar("U")

UNREACHABLE = "unreachable"


@never_cache
@require_safe
def health(request: HttpRequest) -> JsonResponse:
    """Return 200 if every part that a case needs works, else 503 with the part that fails."""
    del request
    workers = _ask("database", workers_alive, None)
    sweeps = None if workers is None else _ask("database", _sweeps, None)
    files = _ask("storage", storage_check.state, UNREACHABLE)
    report: dict[str, Any] = {
        "status": "ok",
        "database": UNREACHABLE if workers is None else "ok",
        "broker": "ok" if _ask("broker", _ping, otherwise=False) else UNREACHABLE,
        "sweep": {True: "ok", False: "silent", None: "unknown"}[sweeps],
        "workers": workers or dict.fromkeys(settings.CELERY_TASK_QUEUES, 0),
    }
    if files is not None:
        report["storage"] = files
    report["status"] = _status(report)
    return JsonResponse(report, status=200 if report["status"] == "ok" else 503)


def _status(report: dict[str, Any]) -> str:
    """Return the most severe failure, or ok."""
    if UNREACHABLE in {report["database"], report["broker"]}:
        return UNREACHABLE
    if report.get("storage", "ok") != "ok":
        return f"storage {report['storage']}"
    if not report["workers"]["inference"]:
        return "no inference worker"
    return "ok" if report["sweep"] == "ok" else f"sweep {report['sweep']}"


def _sweeps() -> bool:
    return Worker.objects.alive().filter(queue=Worker.SWEEP).exists()


def _ping() -> bool:
    with redis.Redis.from_url(settings.REDIS_URL, socket_connect_timeout=1, socket_timeout=1) as broker:
        return bool(broker.ping())


def _ask(part: str, question: Callable[[], T], otherwise: U) -> T | U:
    """Return the answer, or `otherwise` if the question raises: a failing part must not prevent the report."""
    try:
        return question()
    except Exception as error:  # noqa: BLE001 (any failure is an answer)
        logger.warning("%s: %s", part, error)
        return otherwise
