"""The GPU benchmark also runs on a CPU, with tiny sizes."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import chips
from benchmarks.load import covered, flops
from classifier import networks


@pytest.mark.slow
def test_it_runs_on_a_cpu_and_says_so(run: Any) -> None:
    options = ["--device", "cpu", "--network", "squeezenet", "--batch", "1", "--batch", "2", "--seconds", "0.01"]
    printed, figures = run("gpu", *options, "--images", "3", "--decoders", "2")
    assert "THESE ARE A CPU'S FIGURES" in printed
    assert [row["way"] for row in figures["bare"]] == [
        "float32, contiguous",
        "float32, channels-last",
        "bfloat16, contiguous",
        "bfloat16, channels-last",
        "float32, channels-last, fused",
        "bfloat16, channels-last, fused",
    ]
    assert all(row["rates"].keys() == {"1", "2"} for row in figures["bare"])
    predictor = figures["predictor"]
    assert predictor["from PNG, 2 processes"]["patches_per_second"] > 0
    assert predictor["from decoded images"]["waits"] is None


def test_kernels_that_overlap_count_once() -> None:
    assert covered([(5.0, 6.0), (0.0, 2.0), (1.0, 3.0), (1.5, 1.6)]) == 4
    assert covered([]) == 0


def test_the_networks_operations_are_counted() -> None:
    # 1.8 GMAC at 224x224, as everybody's tables say.
    assert flops(networks.create("resnet18")) == pytest.approx(3.6e9, rel=0.2)


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989.5),
        ("NVIDIA H100 PCIe", 756.5),
        ("NVIDIA A100-SXM4-40GB", 312),
        ("NVIDIA L4", 121),
        ("NVIDIA L40S", 362),
    ],
)
def test_chips_are_known_by_name(name: str, peak: float) -> None:
    chip = chips.find(name)
    assert chip is not None
    assert chip.peaks["bfloat16"] == peak


def test_other_chips_are_not_guessed() -> None:
    assert chips.find("NVIDIA GeForce RTX 3090") is None
