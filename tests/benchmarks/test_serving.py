"""The benchmark of serving measures an installation, the thesis's way and the bare network."""

from __future__ import annotations

import re
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from benchmarks.clients import Sent
from benchmarks.serving_report import print_report
from benchmarks.serving_turns import _rate
from benchmarks.thesis_service import analyse, make_weights
from benchmarks.watcher import Ended


@pytest.mark.slow
def test_it_prints_a_table_and_ratios(run: Any, prepared: None) -> None:
    options = ["--clients", "1", "--clients", "2", "--seconds", "0.5", "--warm-up", "0.2", "--rounds", "1"]
    printed, figures = run("serving", *options, "--images", "2", "--queued", "3", "--network", "squeezenet")
    assert re.search(r"bare forward pass.*\(the platform computes on cpu \w+\)", printed)
    assert re.search(r"^ +1 +\d+\.\d\d +\d+\.\d +\d+%", printed, re.MULTILINE)
    assert re.search(r"with at least \d+ images waiting: median \d+ ms", printed)
    assert figures["ratios"].keys() == {"thesis", "bare", "bare_same_precision", "above_bare_ms"}
    assert 400 < figures["kilobytes"] < 700
    turn = figures["platform"]["2"][0]
    assert turn["cpu_ms"].keys() >= {"web", "inference"}
    assert len(figures["uploads"][0]["upload"]) >= 1


def test_the_thesiss_way_counts_the_votes_of_all_patches(tmp_path: Path, png: bytes) -> None:
    make_weights(tmp_path / "weights.pt")
    answer = analyse(png, tmp_path / "weights.pt", "cpu")
    assert answer["patches"] == 15
    assert answer["verdict"] == ("malignant" if int(str(answer["votes"])) > 7 else "benign")


def test_the_rate_counts_whole_batches() -> None:
    # Batches of four end every two seconds: two images a second, wherever the window lies.
    finished = [second + 0.001 * number for second in (1, 3, 5, 7, 9) for number in range(4)]
    assert _rate(finished, 2.0, 8.5) == pytest.approx(2, rel=1e-3)
    assert _rate(finished, 2.9, 7.1) == pytest.approx(2, rel=1e-3)
    assert _rate([], 0, 10) == 0


def test_a_case_that_failed_ends_the_measurement() -> None:
    end: Future[Ended] = Future()
    end.set_result(Ended("failed", 0, 0, 0, ""))
    with pytest.raises(RuntimeError, match="A case failed"):
        _ = Sent("1", 0, 1, end, 0).verdict


def test_the_report_compares_within_a_round(capsys: pytest.CaptureFixture[str]) -> None:
    def turn(rate: float) -> dict[str, Any]:
        times = {key: [0.3] for key in ("verdict", "upload", "until_queued", "until_claimed", "until_stored")}
        return {"rate": rate, **times, "cpu_ms": {"web": 9.0}}

    bare = {"float32": {15: 8.0, 60: 10.0}, "bfloat16": {15: 4.0, 60: 5.0}}
    slower = {name: {batch: rate / 2 for batch, rate in rates.items()} for name, rates in bare.items()}
    figures: dict[str, Any] = {
        "engine": "cpu float32",
        "platform": {1: [turn(3), turn(3)], 8: [turn(9.0), turn(4.5)]},
        "thesis": [1.0, 0.5],
        "bare": [bare, slower],
        "uploads": [],
    }
    print_report(figures)
    assert figures["ratios"]["thesis"] == pytest.approx(9)
    assert figures["ratios"]["bare"] == pytest.approx(0.9)
    # The median of 8 and 4 images a second: one takes 167 ms.
    assert figures["ratios"]["above_bare_ms"] == pytest.approx(300 - 1000 / 6)
    assert "8 clients: 9.00 (aim: 6, later 10)" in capsys.readouterr().out
