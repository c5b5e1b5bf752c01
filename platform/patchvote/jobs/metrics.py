"""`/metrics` for Prometheus.

Everything is read from the database at each look: jobs from their tables, and what worker processes measure from their
rows. So any web server answers for all workers on all machines, in a constant number of queries.
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

REMEMBERED = timedelta(hours=1)
"""How long a silent worker is shown."""


class Jobs:
    """What waits, what is worked on, what failed.

    Queries of open jobs read indexes that hold nothing else, and so do those of failed analyses: a million that
    succeeded cost nothing.
    """

    def collect(self) -> Iterator[Metric]:
        """For each kind of job."""
        jobs = GaugeMetricFamily("patchvote_jobs", "Jobs that have not ended", labels=["kind", "state"])
        oldest = GaugeMetricFamily(
            "patchvote_oldest_queued_seconds", "How long the oldest queued job has waited", labels=["kind"]
        )
        failed = CounterMetricFamily("patchvote_jobs_failed", "Jobs that failed, for ever", labels=["kind", "code"])
        for model in job_models():
            kind = model.kind()
            for state in OPEN_STATES:  # one by one: only so can each use its index
                jobs.add_metric([kind, state], _in_state(model, state).count())
            waited = _in_state(model, State.QUEUED).aggregate(value=_since(Min("queued_at")))["value"]
            oldest.add_metric([kind], max(0, waited.total_seconds()) if waited else 0)
            codes = _in_state(model, State.FAILED).order_by().values_list("error_code").annotate(number=Count("*"))
            for code, number in codes:
                failed.add_metric([kind, code], number)
        yield from (jobs, oldest, failed)


class Workers:
    """Who is there, and what each measured."""

    def collect(self) -> Iterator[Metric]:
        """From the rows of workers."""
        silent = GaugeMetricFamily(
            "patchvote_worker_seconds_since_heartbeat",
            "Seconds since a worker was heard of",
            labels=["worker", "queue", "engine"],
        )
        alive = GaugeMetricFamily("patchvote_workers", "Workers that are there", labels=["queue"])
        measured: dict[str, Metric] = {}
        counts = Counter(dict.fromkeys([*settings.CELERY_TASK_QUEUES, Worker.SWEEP], 0))
        workers: Any = Worker.objects.filter(seen_at__gte=Now() - REMEMBERED).annotate(silence=_since(F("seen_at")))
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
    """By the database's clock."""
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


class _WhateverIsAccepted(BaseContentNegotiation):
    """Prometheus's formats are none of DRF's; refusals are JSON."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        """The first."""
        del request
        return parsers[0]

    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> Any:
        """The first."""
        del request, format_suffix
        return renderers[0], renderers[0].media_type


@extend_schema(exclude=True)
@method_decorator(never_cache, name="dispatch")
class MetricsView(APIView):
    """For those who may see workers: signed in, or with a token, as Prometheus sends it."""

    permission_classes = [HasPermission]
    content_negotiation_class = _WhateverIsAccepted
    required = {None: "jobs.view_worker"}

    def get(self, request: Request) -> HttpResponse:
        """All metrics, in the format that is accepted."""
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return HttpResponse(encode(_registry), content_type=content_type)
