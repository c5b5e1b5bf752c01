"""A device that does not compute ends its worker, and no case."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from celery.exceptions import WorkerShutdown

from classifier.engine import devices
from classifier.engine.devices import DeviceError
from patchvote.cases.inference import model_cache
from patchvote.cases.inference.batches import Batch
from patchvote.cases.models import Analysis, Case
from patchvote.jobs import heartbeat, ledger
from patchvote.jobs.models import State
from patchvote.jobs.signals import worker_starting
from testing.cases import states

GONE = torch.device("meta")
"""It holds tensors and computes nothing."""


@pytest.fixture(autouse=True)
def _runs_on() -> Any:
    """The next test's worker was not told to stop."""
    yield
    heartbeat._stop.clear()
    model_cache._loaded.clear()


@pytest.fixture
def break_device(tiny_champion: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """From now on, whoever computes with the champion fails, and so does whatever else uses its device."""
    predictor = model_cache.load(tiny_champion).result()
    whole = predictor.engine

    def break_it(device: torch.device = GONE) -> None:
        def compute(_inputs: Any) -> Any:
            monkeypatch.setattr(predictor, "engine", replace(whole, device=device))
            raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

        monkeypatch.setattr(predictor, "_forward", compute)

    return break_it


def test_no_image_fails_when_the_device_breaks(
    submit: Any, ana: Any, work: Any, claims: list[int], break_device: Any
) -> None:
    for _ in range(6):
        submit(ana)
    break_device()
    with pytest.raises(WorkerShutdown) as ended:
        work()
    assert ended.value.code == 1
    assert [size for size in claims if size] == [4, 2]
    assert states() == [("queued", 0)] * 2 + [("queued", 1)] * 4
    assert set(Case.objects.values_list("state", flat=True)) == {State.QUEUED}


def test_what_was_done_before_is_kept(
    submit: Any, ana: Any, work: Any, claims: list[int], break_device: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(6):
        submit(ana)
    store = ledger.succeed

    def stored(results: Any) -> Any:
        done = store(results)
        break_device()
        return done

    monkeypatch.setattr(ledger, "succeed", stored)
    monkeypatch.setattr(Batch, "may_follow", lambda *_: False)
    with pytest.raises(WorkerShutdown):
        work()
    assert [size for size in claims if size] == [4, 2]
    assert states() == [("queued", 1)] * 2 + [("succeeded", 1)] * 4


def test_an_image_that_breaks_devices_fails_in_the_end(
    submit: Any, ana: Any, work: Any, break_device: Any, settings: Any
) -> None:
    submit(ana)
    break_device()
    for attempt in range(1, settings.JOB_MAX_ATTEMPTS + 1):
        Analysis.objects.update(due_at=Analysis.objects.get().queued_at)
        with pytest.raises(WorkerShutdown):
            work()
        heartbeat._stop.clear()  # as the next worker's is
        assert Analysis.objects.get().attempts == attempt
    analysis = Analysis.objects.get()
    assert (analysis.state, analysis.error_code) == (State.FAILED, "worker_lost")


def test_an_error_of_a_device_that_computes_is_the_images(submit: Any, ana: Any, work: Any, break_device: Any) -> None:
    submit(ana)
    break_device(device=torch.device("cpu"))
    work()
    assert Analysis.objects.get().error_code == "inference_failed"


def test_a_worker_without_its_device_does_not_start(
    tiny_champion: Any, settings: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.nice", lambda _: 0)
    model_cache._loaded.clear()
    settings.INFERENCE_DEVICE = "cuda:99"
    with pytest.raises(WorkerShutdown) as ended:
        worker_starting.send_robust(sender=None, queue="inference")
    assert ended.value.code == 1
    assert "The device cuda:99 does not exist" in caplog.text
    assert heartbeat.stopping()


@pytest.mark.parametrize("error", [torch.AcceleratorError("CUDA error: unspecified launch failure"), None])
def test_a_device_that_breaks_while_a_network_is_loaded_fails_no_image(
    submit: Any, ana: Any, work: Any, monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    """As it does while it is moved there; without an error of its own, the network is what does not fit."""

    def prepare(*_: Any) -> Any:
        if error:
            monkeypatch.setattr(devices, "check", fail)
        raise error or RuntimeError("no room for it")

    def fail(_device: torch.device) -> None:
        raise DeviceError("The device does not compute.")

    submit(ana)
    model_cache._loaded.clear()
    monkeypatch.setattr(devices.Engine, "prepare", prepare)
    if error:
        with pytest.raises(WorkerShutdown):
            work()
        assert states() == [("queued", 1)]
    else:
        work()
        assert states() == [("failed", 1)]


def test_a_network_that_finds_no_device_is_not_to_blame(submit: Any, ana: Any, work: Any, settings: Any) -> None:
    submit(ana)
    model_cache._loaded.clear()
    settings.INFERENCE_DEVICE = "cuda:99"
    with pytest.raises(WorkerShutdown):
        work()
    assert states() == [("queued", 1)]


def test_a_device_that_does_not_compute_says_why() -> None:
    devices.check(torch.device("cpu"))
    with pytest.raises(DeviceError, match="The device meta does not compute: "):
        devices.check(GONE)
