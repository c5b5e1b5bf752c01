"""A running installation, observed from outside: its metrics, its health and its log."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from testing.images import encode, noise
from testing.stack import Client, Stack

pytestmark = [pytest.mark.slow, pytest.mark.faults]


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One whose log is for machines."""
    running = Stack(tmp_path_factory.mktemp("observed") / "data", PATCHVOTE_LOG_FORMAT="json")
    running.start()
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def client(observed: Stack) -> Client:
    return observed.client()


@pytest.fixture(scope="module")
def case(client: Client) -> Any:
    return client.finished(client.submit(encode(noise()), encode(noise(seed=1)), reference="observed"))


def samples(client: Client) -> dict[str, list[tuple[dict[str, str], float]]]:
    answer = client.get(f"{client._api}../../metrics")
    assert answer.status_code == 200, answer.text
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def lines(stack: Stack, name: str) -> list[dict[str, Any]]:
    """All lines of a process's log, each of which is an object."""
    text = Path(stack.folder / "log" / f"{name}.log").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_metrics_show_what_the_real_worker_did(observed: Stack, client: Client, case: Any) -> None:
    def measured() -> Any:
        now = samples(client)
        return now if sum(value for _, value in now.get("patchvote_batch_size_sum", [])) == 2 else None

    now = observed.wait_for("the worker's heartbeat to tell of both images", measured, 30)
    [labels] = [of for of, value in now["patchvote_batch_size_sum"] if value]
    seconds = {
        of["stage"]: value for of, value in now["patchvote_stage_seconds_sum"] if of["worker"] == labels["worker"]
    }
    assert all(seconds[stage] > 0 for stage in ("decode", "forward", "store"))
    done = {"kind": "analysis", "outcome": "succeeded", "worker": labels["worker"]}
    assert (done, 2) in now["patchvote_jobs_ended_total"]
    assert ({"kind": "analysis", "state": "queued"}, 0) in now["patchvote_jobs"]
    assert sorted((of["queue"], value) for of, value in now["patchvote_workers"]) == [
        ("inference", 1), ("sweep", 1), ("training", 1),
    ]  # fmt: skip


def test_a_person_without_the_permission_reads_none(observed: Stack) -> None:
    observed.create_user("ana", "ana-secret-word", "reviewer")
    refused = observed.client("ana", "ana-secret-word").get(f"{observed.url}/metrics")
    assert (refused.status_code, refused.json()["code"]) == (403, "permission_denied")


def test_the_log_tells_of_the_case(observed: Stack, case: Any) -> None:
    told = [line for name in ("web", "inference") for line in lines(observed, name) if line.get("case") == case["id"]]
    assert [(line["process_name"], line["message"]) for line in told] == [
        ("web", "case accepted"),
        *[("inference", "Analysis claimed")] * 2,
        *[("inference", "Analysis stored")] * 2,
    ]
    analyses = {image["analysis"]["id"] for image in case["images"]}
    assert {line["analysis"] for line in told[1:]} == analyses
    assert len({(line["worker"], line["pid"]) for line in told[1:]}) == 1
    assert all(line["attempt"] == 1 for line in told[1:])
    assert {line["process_name"] for line in lines(observed, "sweep")} <= {"sweep"}


def test_a_sweep_that_hangs_is_said_until_it_goes_on(observed: Stack, client: Client) -> None:
    def status() -> Any:
        return client.get("health/").json()["status"]

    assert status() == "ok"
    sweep = observed.processes()["sweep"]
    os.kill(sweep, signal.SIGSTOP)
    try:
        observed.wait_for("the silence to be noticed", lambda: status() == "sweep silent", 40)
    finally:
        os.kill(sweep, signal.SIGCONT)
    observed.wait_for("the sweep", lambda: status() == "ok", 40)
