"""Estimates of how long a run takes."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from classifier import networks
from testing.orders import succeed
from trainer.experiments.estimate import NETWORKS, estimate_seconds, rate_of, seconds_by_stage
from trainer.options import FitOptions
from trainer.synthetic.dataset import write_tree
from trainer.utils.progress import Stage
from trainer.worker.protocol import TrainOrder

FINETUNE = FitOptions(mode="finetune")


def test_every_network_has_a_cost_in_the_same_order() -> None:
    assert list(NETWORKS) == list(networks.NETWORKS)


@pytest.mark.parametrize("name", NETWORKS)
def test_multiply_adds_are_those_of_the_network(name: str) -> None:
    counted = 0

    def count(layer: nn.Module, _inputs: Any, output: torch.Tensor) -> None:
        nonlocal counted
        if isinstance(layer, nn.Conv2d):
            side = layer.kernel_size
            counted += output.numel() * layer.in_channels // layer.groups * side[0] * side[1]
        elif isinstance(layer, nn.Linear):
            counted += output.numel() * layer.in_features

    with torch.device("meta"):
        module = networks.spec(name).build(2, None).eval()
    for layer in module.modules():
        layer.register_forward_hook(count)
    module(torch.zeros(1, 3, 225, 225, device="meta"))
    assert counted == pytest.approx(NETWORKS[name].multiply_adds, rel=0.01)


def test_more_work_takes_longer() -> None:
    usual = estimate_seconds(323, options=FINETUNE)
    for more in (
        {"folds": 10}, {"repeats": 2}, {"epochs": 40}, {"draws": 30}, {"seeds": 2}, {"network": "resnet50"},
        {"protocol": "lopo"}, {"test_time_flips": True},
    ):  # fmt: skip
        assert estimate_seconds(323, options=FINETUNE.replace(**more)) > usual, more
    assert estimate_seconds(646, options=FINETUNE) == pytest.approx(2 * usual, rel=0.01)
    assert estimate_seconds(323, options=FINETUNE, rate=1e13) < usual / 20


def test_frozen_features_are_one_forward_pass_of_each_patch_or_four() -> None:
    once = seconds_by_stage(100, 15, options=FitOptions())
    four = seconds_by_stage(100, 15, options=FitOptions(test_time_flips=True))
    assert four[Stage.FEATURES] == 4 * once[Stage.FEATURES]
    assert seconds_by_stage(100, 30, options=FitOptions())[Stage.FEATURES] == 2 * once[Stage.FEATURES]
    assert seconds_by_stage(100, options=FitOptions()) == once


@pytest.mark.parametrize("options", [FitOptions(), FINETUNE, FINETUNE.replace(protocol="official")])
def test_a_finished_run_says_how_fast_the_machine_is(options: FitOptions) -> None:
    seconds = estimate_seconds(323, options=options, rate=3e10)
    assert rate_of(seconds, 323, options=options) == pytest.approx(3e10)
    assert rate_of(1, 323, options=options) is None


def test_a_web_server_can_ask() -> None:
    modules = "trainer.experiments.estimate, trainer.worker.protocol, trainer.worker.archives"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "images"), [(FitOptions(folds=2), 12), (FINETUNE.replace(folds=2, epochs=2, patience=2, draws=6), 4)]
)
def test_real_runs_take_about_as_long(options: FitOptions, images: int, tmp_path: Path) -> None:
    """Within a factor of ten, on whatever machine and beside whatever else it does."""
    write_tree(tmp_path / "tree", patients=4, images=images)
    started = time.monotonic()
    order = TrainOrder(source=tmp_path / "tree", name="a", options=options, cache=tmp_path / "cache", device="cpu")
    result = succeed(tmp_path / "work", order)
    taken = time.monotonic() - started
    assert result["seconds"] == pytest.approx(taken, abs=2)
    estimated = estimate_seconds(8 * images, options=options)
    print(f"estimated {estimated:.0f} s, took {taken:.0f} s")  # noqa: T201
    assert estimated / 10 < taken < 10 * estimated
