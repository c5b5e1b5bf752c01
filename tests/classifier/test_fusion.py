"""A network that serves says what the network that was trained says."""

import copy
import os
import subprocess
import sys
import threading
from typing import Any

import pytest
import torch
from torch import nn

from classifier import networks
from classifier.engine.fusion import FusedConvolution, fuse
from testing.paths import ROOT

FEW = sorted(set(networks.NETWORKS) - {"vgg16", "resnet152"})


def trained(name: str, members: int = 1) -> nn.Module:
    """A network whose normalisations do something."""
    torch.manual_seed(0)
    module = networks.ensemble(networks.create(name) for _ in range(members))
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 2)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, 0, 0.1)
    return module


@torch.inference_mode()
def logits(module: nn.Module, side: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    batch = torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(1)).to(dtype)
    return module.to(dtype)(batch.contiguous(memory_format=torch.channels_last)).float()


@pytest.mark.parametrize("name", FEW)
def test_every_network_keeps_its_logits(name: str) -> None:
    module = trained(name)
    before = copy.deepcopy(module.state_dict())
    faster = fuse(module, 225)
    assert faster is not module
    assert not [layer for layer in faster.modules() if isinstance(layer, nn.BatchNorm2d | nn.Conv2d)]
    torch.testing.assert_close(logits(faster, 225), logits(module, 225), rtol=1e-4, atol=1e-4)
    assert all((value == before[key]).all() for key, value in module.state_dict().items())


@pytest.mark.parametrize("side", [224, 225, 96, 131])
def test_the_odd_pixel_of_the_padding_is_where_it_was(side: int) -> None:
    module = trained("efficientnet_lite0")
    torch.testing.assert_close(logits(fuse(module, side), side), logits(module, side), rtol=1e-4, atol=1e-4)


def test_averaged_networks_are_fused_too() -> None:
    module = trained("squeezenet", members=2)
    faster = fuse(module, 225)
    assert faster is not module
    torch.testing.assert_close(logits(faster, 225), logits(module, 225), rtol=1e-4, atol=1e-4)


def test_it_can_be_copied_and_moved_to_another_format_after_use() -> None:
    module = trained("resnet18")
    faster = fuse(module, 225)
    exact = logits(faster, 225)
    rounded = logits(copy.deepcopy(faster.to(torch.float32)), 225, torch.bfloat16)
    assert 0 < (rounded - exact).abs().max() < 0.05
    assert (logits(faster, 225) == exact).all()


def test_a_batch_of_another_size_and_shape_is_no_trouble() -> None:
    module = trained("resnet18")
    faster = fuse(module, 225)
    for side in (225, 64, 225):
        torch.testing.assert_close(logits(faster, side), logits(module, side), rtol=1e-4, atol=1e-4)


def test_an_image_on_another_device_would_take_the_plain_way() -> None:
    batch, addend = 4 * torch.randn(2, 3, 9, 9), torch.randn(2, 4, 9, 9)
    for activation, added in ((nn.ReLU(), addend), (nn.ReLU6(), None), (nn.Identity(), addend), (nn.Identity(), None)):
        layer = FusedConvolution(nn.Conv2d(3, 4, 3, padding=1))
        assert layer.activate(activation)
        torch.testing.assert_close(layer._unfused(batch, added, [1, 1]), layer(batch, added))


class Branching(nn.Module):
    """A forward that depends on the numbers cannot be traced."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 2, 3)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        seen = self.convolution(batch).mean(dim=(2, 3))
        return seen if seen.sum() > 0 else -seen


def test_what_cannot_be_fused_serves_as_it_is(caplog: Any) -> None:
    module = Branching().eval()
    assert fuse(module, 225) is module
    assert "runs unfused" in caplog.text


def test_what_would_say_something_else_serves_as_it_is(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    monkeypatch.setattr(FusedConvolution, "fold", lambda *_: None)
    module = trained("resnet18")
    assert fuse(module, 225) is module
    assert "differ by" in caplog.text


OLD_PROCESSOR = """
import torch
from classifier import networks
from classifier.engine import devices
from classifier.engine.fusion import fuse
module = fuse(networks.create("squeezenet"), 225)
print(devices.choose(module, torch.device("cpu")))
batch = torch.randn(2, 3, 225, 225)
with torch.inference_mode():
    exact = module(batch)
    rounded = module.to(torch.bfloat16)(batch.to(torch.bfloat16)).float()
print((exact - rounded).abs().max().item() < 0.1)
"""


@pytest.mark.slow
def test_a_processor_without_bfloat16_computes_too() -> None:
    """oneDNN can be told to believe that this one is older."""
    old = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run(
        [sys.executable, "-c", OLD_PROCESSOR], env=old, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[1] == "True"


def test_a_network_is_fused_while_another_one_computes() -> None:
    computing = fuse(trained("squeezenet"), 64)
    next_one = trained("resnet18")
    failures: list[Exception] = []
    fusing = threading.Event()

    def compute() -> None:
        try:
            while not fusing.is_set():
                logits(computing, 64)
        except (NameError, RuntimeError) as error:
            failures.append(error)

    thread = threading.Thread(target=compute)
    thread.start()
    for _ in range(3):
        assert fuse(next_one, 64) is not next_one
    fusing.set()
    thread.join()
    assert failures == []
