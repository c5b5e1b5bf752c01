"""A training run loses its worker and its process ten times, and gives one result, with equal numbers."""

from __future__ import annotations

import contextlib
import io
import os
import random
import signal
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
import requests

from classifier.bundle import WEIGHTS_FILE
from testing.stack import Client, Stack
from tests.training.conftest import pack
from trainer.synthetic.dataset import write_tree

pytestmark = [pytest.mark.faults, pytest.mark.slow]

KILLS = 10
OPTIONS = {
    "network": "squeezenet", "mode": "scratch", "folds": 2, "epochs": 8, "patience": 8, "draws": 10, "batch_size": 16,
    "learning_rate": 1e-4,
}  # fmt: skip


@pytest.fixture(scope="module")
def client(stack: Stack) -> Client:
    def connect() -> Client | None:
        try:
            return stack.client()
        except requests.ConnectionError:  # another test has just killed the web server
            return None

    return Stack.wait_for("the web server", connect)


@pytest.fixture(scope="module")
def data_set(client: Client, tmp_path_factory: pytest.TempPathFactory) -> Any:
    tree = tmp_path_factory.mktemp("killed") / "tree"
    write_tree(tree, patients=4, images=2, seed=11)
    archive = pack({str(path.relative_to(tree)): path.read_bytes() for path in tree.rglob("*") if path.is_file()})
    fields = {"name": "killed", "source": "archive"}
    return ended(client, client.post("data-sets/", fields, archive=("tree.zip", archive)))


def start(client: Client, data_set: Any, name: str) -> Any:
    """Start a run; each has a name of its own, as equal bundles of one name are one version."""
    return client.post_json("training-runs/", {"data_set": data_set["id"], "name": name, "options": OPTIONS})


def ended(client: Client, job: Any, seconds: float = 300) -> Any:
    def now() -> Any:
        found = client.get(job["url"]).json()
        return found if found["state"] not in {"queued", "running"} else None

    found = Stack.wait_for(f"{job['url']} to end", now, seconds)
    assert found["state"] == "succeeded", found["error"]
    return found


def children(folder: str) -> list[int]:
    """Processes that work in a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and f"trainer.worker\0{folder}".encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


def kill(pid: int) -> None:
    if not pid:  # it is just being started again; 0 would be this test's own process group
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def test_ten_kills_one_result_equal_numbers(stack: Stack, client: Client, data_set: Any) -> None:
    undisturbed = ended(client, start(client, data_set, "undisturbed"))
    seed = int(os.environ.get("PATCHVOTE_TEST_SEED", time.time_ns() % 10_000))
    sys.stdout.write(f"PATCHVOTE_TEST_SEED={seed}\n")
    chance = random.Random(seed)
    run = start(client, data_set, "disturbed")
    folder = str(stack.folder / "training" / "runs" / run["id"])
    kills = 0
    while kills < KILLS:
        Stack.wait_for("a process that trains", lambda: children(folder) or over(client, run), 90)
        time.sleep(chance.uniform(0, 6))
        if over(client, run):
            break
        kills += 1
        victims = chance.choice(["worker", "process", "both"])
        if victims != "process":
            kill(stack.processes()["training"])
        if victims != "worker":
            for pid in children(folder):
                kill(pid)
    disturbed = ended(client, run)
    assert kills == KILLS, "the run was too short for this machine"
    assert disturbed["attempts"] > KILLS / 2
    assert not children(folder)
    for name in ("metrics", "epochs"):
        assert disturbed[name] == undisturbed[name], name
    assert [numbers(fold) for fold in disturbed["folds"]] == [numbers(fold) for fold in undisturbed["folds"]]
    versions = [model for model in client.get("models/").json()["results"] if model["name"] == "disturbed"]
    assert [version["id"] for version in versions] == [disturbed["model"]["id"]]
    assert weights(client, disturbed) == weights(client, undisturbed)


def over(client: Client, run: Any) -> bool:
    return client.get(run["url"]).json()["state"] not in {"queued", "running"}


def weights(client: Client, run: Any) -> bytes:
    packed = client.get(f"models/{run['model']['id']}/bundle/").content
    with zipfile.ZipFile(io.BytesIO(packed)) as bundle:
        return bundle.read(WEIGHTS_FILE)


def numbers(fold: Any) -> Any:
    return {name: value for name, value in fold.items() if name != "seconds"}
