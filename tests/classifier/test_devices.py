"""Which number format a network gets: the most exact one that is fast, and none in which it does not work."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from classifier.bundle import Bundle
from classifier.engine import devices
from classifier.engine.devices import Engine, most_exact
from classifier.predictor import Predictor
from testing.images import noise
from testing.networks import replace_forward

CPU = torch.device("cpu")
EXACT, HALF, BRAIN = (Engine(CPU, dtype) for dtype in (torch.float32, torch.float16, torch.bfloat16))


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ((1.0, 1.0, 1.0), EXACT),
        ((1.0, 0.9, 0.85), EXACT),
        ((1.0, 0.5, 0.45), HALF),
        ((1.0, 0.5, 0.2), BRAIN),
        ((1.0, 4.0, 0.5), BRAIN),
        ((1.0, 3.0, 9.0), EXACT),
    ],
)
def test_exactness_is_given_up_for_speed_alone(seconds: tuple[float, ...], expected: Engine) -> None:
    assert most_exact(dict(zip((EXACT, HALF, BRAIN), seconds, strict=True))) == expected


class Network(nn.Module):
    """Whose numbers are large, and which knows some formats."""

    def __init__(self, scale: float = 1, unknown: torch.dtype | None = None) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 2, 3)
        self.scale, self.unknown = scale, unknown

    def forward(self, batch: Tensor) -> Tensor:
        if batch.dtype == self.unknown:
            raise RuntimeError("no such format")
        return (self.convolution(batch) * self.scale).mean(dim=(2, 3)) / self.scale


def tried(network: Network) -> set[Engine]:
    seconds = devices._forward_seconds(network.eval(), [EXACT, HALF, BRAIN], (4, 3, 16, 16))
    assert all(0 < each < math.inf for each in seconds.values())
    return set(seconds)


def test_every_format_is_tried() -> None:
    assert tried(Network()) == {EXACT, HALF, BRAIN}


def test_what_else_uses_the_cores_does_not_make_a_format_slow() -> None:
    """A worker that starts beside others would take formats for alike, and compute in the slow one for ever."""
    threads = []

    class Waiting(Network):
        def forward(self, batch: Tensor) -> Tensor:
            threads.append(torch.get_num_threads())
            time.sleep(0.2)  # as where others have the core
            return super().forward(batch)

    [seconds] = devices._forward_seconds(Waiting(), [EXACT], (4, 3, 16, 16)).values()
    assert seconds < 0.1
    assert set(threads) == {1}


def test_a_trial_leaves_the_number_of_threads_as_it_was() -> None:
    before = torch.get_num_threads()
    tried(Network())
    with pytest.raises(RuntimeError):
        tried(Network(unknown=torch.float32))
    assert torch.get_num_threads() == before


def test_a_format_that_is_much_slower_is_tried_twice() -> None:
    calls = []

    class Slow(Network):
        def forward(self, batch: Tensor) -> Tensor:
            calls.append(batch.dtype)
            began = time.thread_time()
            while batch.dtype == torch.bfloat16 and time.thread_time() < began + 0.1:
                pass
            return super().forward(batch)

    assert tried(Slow()) == {EXACT, HALF, BRAIN}
    assert calls.count(torch.bfloat16) == 2


def test_a_format_in_which_numbers_overflow_is_not_chosen() -> None:
    assert tried(Network(scale=1e6)) == {EXACT, BRAIN}


def test_a_format_that_the_device_does_not_have_is_not_chosen() -> None:
    assert tried(Network(unknown=torch.bfloat16)) == {EXACT, HALF}


def test_a_format_in_which_it_says_something_else_is_not_chosen() -> None:
    class Wrong(Network):
        def forward(self, batch: Tensor) -> Tensor:
            return super().forward(batch) + (batch.dtype == torch.float16)

    assert tried(Wrong()) == {EXACT, BRAIN}


def test_where_memory_is_short_fewer_patches_are_tried() -> None:
    class Large(Network):
        def forward(self, batch: Tensor) -> Tensor:
            if len(batch) > 1:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return super().forward(batch)

    assert devices.choose(Large().eval(), CPU, patch=16).device == CPU


def test_a_device_that_breaks_meanwhile_is_no_format_that_it_does_not_have() -> None:
    class Breaking(Network):
        def forward(self, batch: Tensor) -> Tensor:
            if batch.dtype == torch.float16:
                raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
            return super().forward(batch)

    with pytest.raises(torch.AcceleratorError):
        tried(Breaking())


def test_a_network_that_does_not_work_at_all_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="no such format"):
        tried(Network(unknown=torch.float32))


def test_float16_can_be_asked_for(tiny_bundle: Bundle) -> None:
    half, exact = (Predictor(tiny_bundle, device="cpu", precision=name) for name in ("float16", "float32"))
    assert str(half.engine) == "cpu float16"
    [[one], [other]] = (predictor.predict([noise(300, 260)]) for predictor in (half, exact))
    assert [vote.malignant_probability for vote in one.votes] == pytest.approx(
        [vote.malignant_probability for vote in other.votes], abs=5e-3
    )


def test_what_is_too_large_for_float16_is_read_in_float32(
    tiny_bundle: Bundle, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = Predictor(tiny_bundle, device="cpu", precision="float32")
    images = [noise(300, 260), noise(260, 300, seed=1), noise(240, 240, seed=2)]
    calls = iter(range(100))

    def overflowing(network: Any, inputs: Tensor) -> Any:
        logits = network(inputs)
        return logits * (math.inf if logits.dtype == torch.float16 and next(calls) == 1 else 1)

    replace_forward(monkeypatch, overflowing)
    half = Predictor(tiny_bundle, device="cpu", precision="float16")
    half.batch_size = 1
    found, expected = half.predict(images), exact.predict(images)
    assert any(one == other for one, other in zip(found, expected, strict=True))
    for one, other in zip(found, expected, strict=True):
        assert one.malignant_probability == pytest.approx(other.malignant_probability, abs=5e-3)
    assert "activations overflow in cpu float16" in caplog.text


def test_no_number_in_float32_is_an_error(tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_forward(monkeypatch, lambda _network, inputs: torch.full((len(inputs), 2), math.nan))
    exact = Predictor(tiny_bundle, device="cpu", precision="float32")
    with pytest.raises(ValueError, match="number"):
        exact.predict([noise(300, 260)])
