"""A worker whose device breaks in the midst of its work: a real one of Celery's."""

from __future__ import annotations

import subprocess
import sys

import pytest

from testing.faults.following import attempts, whole
from testing.paths import ROOT
from testing.stack import Stack

pytestmark = [pytest.mark.faults, pytest.mark.slow]

BREAKING = """
import sys
from dataclasses import replace

import torch

from classifier.predictor import Predictor


def broken(self, inputs):
    self.engine = replace(self.engine, device=torch.device("meta"))  # it holds tensors and computes nothing
    raise torch.AcceleratorError("CUDA error: unspecified launch failure")


Predictor._forward = broken
from celery.__main__ import main

sys.argv = ["celery", "-A", "patchvote.celery", "worker", "--pool", "solo", "--queues", "inference"]
sys.exit(main())
"""


def test_it_ends_itself_and_another_one_does_its_work(stack: Stack, png: bytes) -> None:
    client, supervisor = stack.client(), stack.remote().supervisor
    supervisor.stopProcess("inference")
    try:
        case = client.submit(png)
        environment = {**stack.environment, "DJANGO_SETTINGS_MODULE": "patchvote.config.settings"}
        environment["PYTHONPATH"] = f"{ROOT / 'platform'}:{ROOT}"
        worker = subprocess.run(
            [sys.executable, "-c", BREAKING],
            cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert "this worker shuts down: The device meta does not compute" in worker.stderr
        assert worker.returncode == 1
        assert "Unrecoverable" not in worker.stderr
        assert client.get(case["url"]).json()["state"] == "queued"
    finally:
        supervisor.startProcess("inference")
    case = client.finished(case)
    assert whole(case)
    assert attempts(case) == [2]
