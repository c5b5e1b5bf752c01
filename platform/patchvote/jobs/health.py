"""The truth about each part, for load balancers and people."""

from __future__ import annotations

import redis
from django.conf import settings
from django.db import DatabaseError, connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from patchvote.jobs.models import workers_alive


@never_cache
@require_safe
def health(request: HttpRequest) -> JsonResponse:
    """200 when everything that a case needs is there, else 503 with the part that fails."""
    del request
    report: dict[str, object] = {
        "status": "ok",
        "database": "ok",
        "broker": "ok",
        "workers": dict.fromkeys(settings.CELERY_TASK_QUEUES, 0),
    }
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        report["workers"] = workers = workers_alive()
        if not workers["inference"]:
            report["status"] = "no inference worker"
    except DatabaseError:
        report["database"] = report["status"] = "unreachable"
    try:
        with redis.Redis.from_url(settings.REDIS_URL, socket_connect_timeout=1, socket_timeout=1) as broker:
            broker.ping()
    except (redis.RedisError, OSError):
        report["broker"] = report["status"] = "unreachable"
    return JsonResponse(report, status=200 if report["status"] == "ok" else 503)
