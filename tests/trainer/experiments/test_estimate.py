"""Estimates of how long a run takes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook

from classifier import networks
from testing.data_sets import SMALL
from testing.options import FINETUNE, FROZEN, GRID
from trainer.experiments.estimate import NETWORKS, estimate_seconds, rate_of, seconds_by_stage
from trainer.experiments.fit import fit
from trainer.options import FitOptions
from trainer.utils.progress import Stage

pytestmark = pytest.mark.usefixtures("torch_started")

TRAINED = FitOptions(mode="finetune")
PATCHES = len(GRID.boxes(width=SMALL[0], height=SMALL[1]))


def test_every_network_has_a_cost_in_the_same_order() -> None:
    assert list(NETWORKS) == list(networks.NETWORKS)


def multiply_adds(layer: nn.Module, output: torch.Tensor) -> int:
    """Return the multiply-adds of one layer's forward pass."""
    if isinstance(layer, nn.Conv2d):
        height, width = layer.kernel_size
        return output.numel() * layer.in_channels // layer.groups * height * width
    return output.numel() * layer.in_features if isinstance(layer, nn.Linear) else 0


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_multiply_adds_are_those_of_the_network(name: str) -> None:
    counted = 0

    def count(layer: nn.Module, _inputs: Any, output: torch.Tensor) -> None:
        nonlocal counted
        counted += multiply_adds(layer, output)

    with torch.device("meta"):
        module = networks.spec(name).build(2, None).eval()
    for layer in module.modules():
        layer.register_forward_hook(count)
    module(torch.zeros(1, 3, 225, 225, device="meta"))
    assert name in NETWORKS, f"Add {name} to NETWORKS in trainer/experiments/estimate.py: {counted / 1e6:.0f}e6."
    stated = NETWORKS[name].multiply_adds
    assert stated == pytest.approx(counted, rel=0.01), f"The multiply-adds of {name} are {counted / 1e6:.0f}e6."


def test_more_work_takes_longer() -> None:
    usual = estimate_seconds(323, options=TRAINED)
    for more in (
        {"folds": 10}, {"repeats": 2}, {"epochs": 40}, {"draws": 30}, {"seeds": 2}, {"network": "resnet50"},
        {"protocol": "lopo"}, {"test_time_flips": True},
    ):  # fmt: skip
        assert estimate_seconds(323, options=TRAINED.replace(**more)) > usual, more
    assert estimate_seconds(646, options=TRAINED) == pytest.approx(2 * usual, rel=0.01)
    assert estimate_seconds(323, options=TRAINED, rate=1e13) < usual / 20


def test_frozen_features_are_one_forward_pass_of_each_patch_or_four() -> None:
    once = seconds_by_stage(100, 15, options=FitOptions())
    four = seconds_by_stage(100, 15, options=FitOptions(test_time_flips=True))
    assert four[Stage.FEATURES] == 4 * once[Stage.FEATURES]
    assert seconds_by_stage(100, 30, options=FitOptions())[Stage.FEATURES] == 2 * once[Stage.FEATURES]
    assert seconds_by_stage(100, options=FitOptions()) == once


@pytest.mark.parametrize("options", [FitOptions(), TRAINED, TRAINED.replace(protocol="official")])
def test_a_finished_run_says_how_fast_the_machine_is(options: FitOptions) -> None:
    seconds = estimate_seconds(323, options=options, rate=3e10)
    assert rate_of(seconds, 323, options=options) == pytest.approx(3e10)
    assert rate_of(1, 323, options=options) is None


def test_a_web_server_can_ask() -> None:
    modules = "trainer.experiments.estimate, trainer.worker.protocol, trainer.worker.archives"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_seconds_follow_from_the_rate() -> None:
    frozen = seconds_by_stage(100, 15, options=FitOptions(folds=5), rate=1e9)
    assert frozen == pytest.approx(
        {
            Stage.READING: 100 * 0.02,
            Stage.FEATURES: 100 * 15 * 448e6 / 0.4 / 1e9,
            Stage.FOLDS: 5 * 100 * 1e-3,
            Stage.REPORT: 10,
            Stage.FINAL: 100 * 1e-3,
        }
    )
    options = TRAINED.replace(network="resnet18", folds=4, repeats=2, epochs=10, draws=6, seeds=3)
    patch = 2049e6
    step, scored = 3 * 6 * patch, 15 * patch  # forward and backward of six patches; forward of all patches
    epochs = 0.8 * 10 * 3
    fold = epochs * 75 * (0.8 * step + 0.2 * scored)
    trained = seconds_by_stage(100, 15, options=options, rate=1e9)
    assert trained[Stage.FOLDS] == pytest.approx(2 * (4 * fold + 100 * 3 * scored) / 1e9)
    assert trained[Stage.FINAL] == pytest.approx(epochs * 100 * step / 1e9)
    for rate in (1e8, 1e10):
        other = seconds_by_stage(100, 15, options=options, rate=rate)
        for stage in (Stage.FOLDS, Stage.FINAL):
            assert other[stage] == pytest.approx(trained[stage] * 1e9 / rate)
        for stage in (Stage.READING, Stage.REPORT):
            assert other[stage] == trained[stage]


class Work:
    """The multiply-adds that networks do while `counted` is active.

    Attributes:
        training: In forward passes of a training.
        scoring: In all other forward passes.
    """

    def __init__(self) -> None:
        self.training = self.scoring = 0

    def add(self, layer: nn.Module, _inputs: Any, output: torch.Tensor) -> None:
        amount = multiply_adds(layer, output)
        if layer.training:
            self.training += amount
        else:
            self.scoring += amount


@contextmanager
def counted() -> Iterator[Work]:
    """Count the work of all networks."""
    work = Work()
    hook = register_module_forward_hook(work.add)
    try:
        yield work
    finally:
        hook.remove()


def test_the_work_of_frozen_features_is_what_a_run_does(tree: Path, tmp_path: Path) -> None:
    options = FROZEN.replace(network="efficientnet_lite0")
    with counted() as work:
        fit(tree, tmp_path / "a", options, device="cpu", cache=tmp_path)
    assert work.training == 0
    estimated = seconds_by_stage(8, PATCHES, options=options, rate=1)[Stage.FEATURES]
    assert estimated * NETWORKS[options.network].efficiency == pytest.approx(work.scoring, rel=0.1)


@pytest.mark.slow
def test_the_work_of_a_training_is_what_a_run_does(tree: Path, tmp_path: Path) -> None:
    """Within a factor of two: a few patients cannot be held out in exact shares, and training stops early."""
    options = FINETUNE.replace(grid=GRID, epochs=5, patience=5, draws=6)
    with counted() as work:
        fit(tree, tmp_path / "a", options, device="cpu", cache=tmp_path)
    cost = NETWORKS[options.network]
    estimated = seconds_by_stage(8, PATCHES, options=options, rate=1)
    done = 3 * work.training / cost.training_efficiency + work.scoring / cost.efficiency
    assert done / 2 < estimated[Stage.FOLDS] + estimated[Stage.FINAL] < 2 * done
