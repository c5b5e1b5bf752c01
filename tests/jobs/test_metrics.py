"""`/metrics`: read from the database, for those who may see workers."""

from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now
from django.test import Client
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families

from patchvote.cases.models import Analysis
from patchvote.jobs import ledger
from patchvote.jobs.models import Worker, job_models

pytestmark = pytest.mark.django_db

STATS = [
    {
        "name": "patchvote_batch_size", "type": "histogram", "help": "Images in one forward pass",
        "samples": [
            ["patchvote_batch_size_bucket", {"le": "1.0"}, 1.0],
            ["patchvote_batch_size_bucket", {"le": "+Inf"}, 3.0],
            ["patchvote_batch_size_count", {}, 3.0],
            ["patchvote_batch_size_sum", {}, 21.0],
        ],
    },
    {
        "name": "patchvote_jobs_ended", "type": "counter", "help": "Jobs ended",
        "samples": [["patchvote_jobs_ended_total", {"kind": "analysis", "outcome": "succeeded"}, 3.0]],
    },
]  # fmt: skip


@pytest.fixture
def boss(make_user: Any) -> Any:
    return make_user("boss", "admin")


@pytest.fixture
def metrics(api: Any, boss: Any) -> Any:
    """The value of each sample, by name and labels: `metrics()["patchvote_workers", ("queue", "sweep")]`."""

    prometheus = api(boss)

    def read() -> dict[tuple[Any, ...], float]:
        answer = prometheus.get("/metrics")
        assert answer.status_code == 200, answer.content
        return {
            (sample.name, *sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(answer.content.decode())
            for sample in family.samples
        }

    return read


def test_only_those_allowed_read_them(api: Any, make_user: Any, boss: Any, client: Client) -> None:
    nobody = api().get("/metrics")
    assert (nobody.status_code, nobody["WWW-Authenticate"]) == (401, "Token")
    for role in ("submitter", "reviewer"):
        refused = api(make_user(role, role)).get("/metrics")
        assert (refused.status_code, refused.json()["code"]) == (403, "permission_denied")
    assert api(boss).get("/metrics").status_code == 200
    client.force_login(boss)  # in the browser
    assert client.get("/metrics").status_code == 200
    assert client.post("/metrics").status_code in {403, 405}


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain; version="),
        ("text/html,application/xhtml+xml", "text/plain; version="),
        ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1",
         "application/openmetrics-text; version=1.0.0"),
    ],
)  # fmt: skip
def test_the_format_is_the_one_that_is_accepted(api: Any, boss: Any, accept: str, content_type: str) -> None:
    Worker.objects.create(name="w", queue="inference", stats=STATS)
    answer = api(boss).get("/metrics", headers={"accept": accept})
    assert answer["Content-Type"].startswith(content_type)
    parse = open_metrics if "openmetrics" in content_type else text_string_to_metric_families
    assert "patchvote_jobs_ended" in {family.name for family in parse(answer.content.decode())}


def test_the_queue_is_counted_and_its_oldest_job_timed(metrics: Any, submit: Any, make_user: Any, upload: Any) -> None:
    ana = make_user("ana")
    assert metrics()["patchvote_oldest_queued_seconds", ("kind", "analysis")] == 0
    submit(ana)
    ledger.claim(Analysis, "w", 1)
    submit(ana, upload(), upload())
    Analysis.objects.filter(state="queued").update(queued_at=Now() - timedelta(seconds=100))
    now = metrics()
    assert now["patchvote_jobs", ("kind", "analysis"), ("state", "queued")] == 2
    assert now["patchvote_jobs", ("kind", "analysis"), ("state", "running")] == 1
    assert 100 <= now["patchvote_oldest_queued_seconds", ("kind", "analysis")] < 160
    kinds = {dict(key[1:])["kind"] for key in now if key[0] == "patchvote_jobs"}
    assert kinds == {"analysis", "trainingrun", "dataset", "comparison", "bundleupload"}


def test_failures_are_counted_by_code(metrics: Any, submit: Any, make_user: Any, upload: Any) -> None:
    submit(make_user("ana"), *[upload() for _ in range(4)])
    one, two, three, four = ledger.claim(Analysis, "w", 4)
    for job, code in ((one, "file_gone"), (two, "file_gone"), (three, "inference_failed")):
        ledger.fail(job, code, "Why.")
    ledger.succeed([(four, {"verdict": "benign"})])
    failed = {key[1:]: value for key, value in metrics().items() if key[0] == "patchvote_jobs_failed_total"}
    assert failed == {
        (("code", "file_gone"), ("kind", "analysis")): 2,
        (("code", "inference_failed"), ("kind", "analysis")): 1,
    }


def test_workers_and_what_they_measured(metrics: Any) -> None:
    Worker.objects.create(name="a", queue="inference", engine="cpu float32", stats=STATS)
    Worker.objects.create(name="b", queue="inference", stats=STATS)
    Worker.objects.create(name="silent", queue="inference", stats=STATS, seen_at=Now() - 4 * Worker.HEARTBEAT)
    Worker.objects.create(name="gone", queue="inference", seen_at=Now() - timedelta(hours=2))
    Worker.objects.create(name="s", queue="sweep")
    now = metrics()
    alive = {key[1][1]: value for key, value in now.items() if key[0] == "patchvote_workers"}
    assert alive == {"inference": 2, "training": 0, "sweep": 1}
    silent = {dict(key[1:])["worker"]: v for key, v in now.items() if "since_heartbeat" in key[0]}
    assert set(silent) == {"a", "b", "silent", "s"}
    assert silent["a"] < Worker.SILENCE.total_seconds() < silent["silent"] < 60
    sizes = {dict(key[1:])["worker"]: v for key, v in now.items() if key[0] == "patchvote_batch_size_sum"}
    assert sizes == {"a": 21, "b": 21}
    ended = "patchvote_jobs_ended_total", ("kind", "analysis"), ("outcome", "succeeded"), ("worker", "b")
    assert now[ended] == 3


def test_the_number_of_queries_does_not_grow(
    metrics: Any, submit: Any, make_user: Any, upload: Any, django_assert_num_queries: Any
) -> None:
    expected = 4 * len(job_models()) + 1 + 4  # of each kind, workers, and who asks: token, person, permissions
    with django_assert_num_queries(expected):
        metrics()
    ana = make_user("ana")
    for number in range(5):
        submit(ana, upload(), upload())
        Worker.objects.create(name=f"w{number}", queue="inference", stats=STATS)
    for job in ledger.claim(Analysis, "w", 4):
        ledger.fail(job, "file_gone", "Why.")
    with django_assert_num_queries(expected):
        metrics()
