"""`/health/` tells the truth."""

from typing import Any

import pytest
from django.db.models.functions import Now
from django.test import Client

from patchvote.jobs.models import Worker

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("path", ["/health/", "/api/v1/health/"])
def test_without_broker_and_worker_it_says_so(client: Client, settings: Any, tmp_path: Any, path: str) -> None:
    settings.REDIS_URL = f"unix://{tmp_path}/nobody.sock"
    answer = client.get(path)
    assert answer.status_code == 503
    assert answer.json() == {
        "status": "unreachable",
        "database": "ok",
        "broker": "unreachable",
        "workers": {"inference": 0, "training": 0},
    }


def test_only_workers_heard_of_lately_count(client: Client, settings: Any, tmp_path: Any) -> None:
    settings.REDIS_URL = f"unix://{tmp_path}/nobody.sock"
    Worker.objects.create(name="alive", queue="inference")
    Worker.objects.create(name="silent", queue="inference", seen_at=Now() - 4 * Worker.HEARTBEAT)
    Worker.objects.create(name="trainer", queue="training")
    assert client.get("/health/").json()["workers"] == {"inference": 1, "training": 1}


def test_it_needs_no_sign_in_and_takes_no_post(client: Client) -> None:
    assert client.post("/health/").status_code == 405
