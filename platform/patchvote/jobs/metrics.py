"""`/metrics` for Prometheus.

Each request reads everything from the database: jobs from their tables, and measurements from the rows of the workers.
So every web server reports on all workers of all machines, with a constant number of queries.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db.models import Count, DurationField, ExpressionWrapper, F, Min
from django.db.models.functions import Now
from django.http import HttpResponse
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from drf_spectacular.utils import extend_schema
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.request import Request
from rest_framework.views import APIView

from patchvote.core.api_base import HasPermission
from patchvote.jobs.models import OPEN_STATES, Job, State, Worker, job_models

SHOWN_FOR = timedelta(hours=1)
"""How long the metrics include a silent worker."""


class Jobs:
    """A collector of the numbers of queued, running and failed jobs.

    The queries use partial indexes for open jobs and failed analyses, so that millions of succeeded jobs cost nothing.
    """

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of all kinds of jobs."""
        jobs = GaugeMetricFamily("patchvote_jobs", "Jobs that have not ended", labels=["kind", "state"])
        oldest = GaugeMetricFamily(
            "patchvote_oldest_queued_seconds", "How long the oldest queued job has waited", labels=["kind"]
        )
        failed = CounterMetricFamily("patchvote_jobs_failed", "Jobs that have failed", labels=["kind", "code"])
        for model in job_models():
            kind = model.kind()
            for state in OPEN_STATES:  # one query per state: each uses its partial index
                jobs.add_metric([kind, state], _in_state(model, state).count())
            waited = _in_state(model, State.QUEUED).aggregate(value=_since(Min("queued_at")))["value"]
            oldest.add_metric([kind], max(0, waited.total_seconds()) if waited else 0)
            codes = _in_state(model, State.FAILED).order_by().values_list("error_code").annotate(number=Count("*"))
            for code, number in codes:
                failed.add_metric([kind, code], number)
        yield from (jobs, oldest, failed)


class Workers:
    """A collector of the workers and their measurements."""

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics from the rows of the workers."""
        silent = GaugeMetricFamily(
            "patchvote_worker_seconds_since_heartbeat",
            "Seconds since the last heartbeat of a worker",
            labels=["worker", "queue", "engine"],
        )
        alive = GaugeMetricFamily("patchvote_workers", "Living workers", labels=["queue"])
        measured: dict[str, Metric] = {}
        counts = Counter(dict.fromkeys([*settings.CELERY_TASK_QUEUES, Worker.SWEEP], 0))
        workers: Any = Worker.objects.filter(seen_at__gte=Now() - SHOWN_FOR).annotate(silence=_since(F("seen_at")))
        for worker in workers:
            silent.add_metric([worker.name, worker.queue, worker.engine], worker.silence.total_seconds())
            if abs(worker.silence) <= Worker.SILENCE:
                counts[worker.queue] += 1
                _add(measured, worker)
        for queue, number in counts.items():
            alive.add_metric([queue], number)
        yield from (silent, alive, *measured.values())


def _in_state(model: type[Job], state: State) -> Any:
    return model._default_manager.filter(state=state)  # noqa: SLF001 (Django's documented way for any model)


def _since(moment: Any) -> Any:
    """Return the time since a moment, by the database's clock."""
    return ExpressionWrapper(Now() - moment, output_field=DurationField())


def _add(measured: dict[str, Metric], worker: Worker) -> None:
    for family in worker.stats:
        name, kind = family["name"], family["type"]
        metric = measured.setdefault(name, Metric(name, family["help"], kind))
        for sample, labels, value in family["samples"]:
            metric.add_sample(sample, {**labels, "worker": worker.name}, value)


_registry = CollectorRegistry()
_registry.register(Jobs())
_registry.register(Workers())


class _AcceptAny(BaseContentNegotiation):
    """A negotiation that accepts any format: DRF knows none of Prometheus's. Errors are JSON."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        """Return the first parser."""
        del request
        return parsers[0]

    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> Any:
        """Return the first renderer."""
        del request, format_suffix
        return renderers[0], renderers[0].media_type


@extend_schema(exclude=True)
@method_decorator(never_cache, name="dispatch")
class MetricsView(APIView):
    """The metrics in Prometheus's format, for users who may view workers; Prometheus sends a token."""

    permission_classes = [HasPermission]
    content_negotiation_class = _AcceptAny
    required = {None: "jobs.view_worker"}

    def get(self, request: Request) -> HttpResponse:
        """Return all metrics in the format that the client accepts."""
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return HttpResponse(encode(_registry), content_type=content_type)
