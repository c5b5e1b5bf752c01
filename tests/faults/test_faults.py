"""The promise, with real processes: an accepted case gets exactly one result, whatever dies meanwhile."""

import os
import signal
from typing import Any

import pytest
import requests

from testing.images import encode, noise
from testing.stack import Client, Stack

pytestmark = [pytest.mark.faults, pytest.mark.slow]

SMALL = [encode(noise(240, 240, seed=seed)) for seed in range(20)]


@pytest.fixture(scope="module")
def client(stack: Stack) -> Client:
    return stack.client()


def whole(case: Any) -> bool:
    analyses = [image["analysis"] for image in case["images"]]
    return case["state"] == "succeeded" and all(a["state"] == "succeeded" and a["votes"] for a in analyses)


def test_a_case_goes_through_real_redis_and_a_real_worker(client: Client) -> None:
    case = client.finished(client.submit(encode(noise()), reference="through"))
    assert whole(case)
    assert len(case["images"][0]["analysis"]["votes"]) == 15
    assert case["images"][0]["analysis"]["attempts"] == 1


def test_a_killed_worker_loses_nothing(stack: Stack, client: Client) -> None:
    big = [encode(noise(1000, 800, seed=seed)) for seed in range(4)]
    case = client.submit(*big, reference="killed")

    def running() -> Any:
        now = client.get(case["url"]).json()
        return now if now["state"] == "running" else None

    stack.wait_for("the analyses to start", running, 30)
    os.kill(stack.processes()["inference"], signal.SIGKILL)
    case = client.finished(case)
    assert whole(case)
    assert {image["analysis"]["attempts"] for image in case["images"]} == {2}


def test_a_flushed_broker_loses_nothing(stack: Stack, client: Client) -> None:
    worker = stack.processes()["inference"]
    os.kill(worker, signal.SIGSTOP)
    try:
        cases = [client.submit(image, reference="flushed") for image in SMALL[:5]]
        stack.redis().flushall()
    finally:
        os.kill(worker, signal.SIGCONT)
    assert all(whole(client.finished(case)) for case in cases)


def test_a_killed_broker_refuses_no_upload_and_loses_nothing(stack: Stack, client: Client) -> None:
    broker = stack.processes()["redis"]
    os.kill(broker, signal.SIGKILL)
    cases = [client.submit(image, reference="no broker") for image in SMALL[5:10]]
    finished = [client.finished(case) for case in cases]
    assert all(whole(case) for case in finished)
    assert stack.processes()["redis"] != broker


def test_a_killed_web_server_loses_nothing(stack: Stack, client: Client) -> None:
    cases = [client.submit(image, reference="no web") for image in SMALL[10:15]]
    os.kill(stack.processes()["web"], signal.SIGKILL)
    stack.wait_for("the web server", lambda: answers(client), 30)
    assert all(whole(client.finished(case)) for case in cases)


def answers(client: Client) -> bool:
    try:
        return client.get("health/").status_code == 200
    except requests.ConnectionError:
        return False
