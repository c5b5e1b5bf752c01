"""The pieces of the training benchmark work on tiny data; how fast they are is not asked here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import table5
from benchmarks.clock import PARTS
from benchmarks.images import drawings, write_data_set, write_patch_files
from benchmarks.training import main, take_turns
from benchmarks.ways import OurWay, ThesisWay, Turn
from classifier.grid import PatchGrid
from trainer.data.datasets import load
from trainer.fitting.hardware import Hardware
from trainer.fitting.patch_sampler import PatchSampler
from trainer.options import THESIS

GRID = PatchGrid(size=64, stride=64)
SIZE = (128, 64)
OPTIONS = THESIS.replace(network="squeezenet", grid=GRID, batch_size=4, draws=2)
CPU = Hardware("cpu")


def tissue(count: int = 4) -> tuple[PatchSampler, np.ndarray]:
    wanted = drawings(count, SIZE)
    labels = np.array([int(drawing.label == "malignant") for drawing in wanted])
    return PatchSampler([drawing.draw() for drawing in wanted], GRID, "cpu"), labels


def test_classes_are_as_unequal_as_in_breakhis() -> None:
    wanted = drawings(1995)
    assert sum(drawing.label == "malignant" for drawing in wanted) == 1370
    assert len({drawing.patient for drawing in wanted}) == 70
    assert len({(drawing.label, drawing.seed) for drawing in wanted}) == 1995
    assert {drawing.label for drawing in drawings(2)} == {"benign", "malignant"}


def test_our_way_trains_whole_batches_and_says_where_time_goes() -> None:
    sampler, labels = tissue()
    way = OurWay(sampler, labels, OPTIONS.replace(draws=3, turn=True, stain=0.1), CPU)
    turn = way.turn()
    assert turn.patches == 12
    assert turn.seconds > 0
    parts = way.parts()
    assert tuple(parts) == PARTS
    assert all(seconds > 0 for seconds in parts.values())


def test_images_held_out_are_not_trained_on() -> None:
    sampler, labels = tissue(6)
    way = OurWay(sampler, labels, OPTIONS, CPU, held_out=2)
    assert way.turn().patches == 8


def test_the_thesiss_way_trains_on_every_file(tmp_path: Path) -> None:
    wanted = drawings(3, SIZE)
    assert write_patch_files(tmp_path, wanted, [drawing.draw() for drawing in wanted], 1, GRID) == 6
    assert {path.parent.name for path in tmp_path.rglob("*.png")} == {"benign", "malignant"}
    way = ThesisWay(tmp_path, "squeezenet", device="cpu", batch_size=4, workers=0)
    assert way.turn().patches == 6


def test_the_ways_take_turns() -> None:
    order = []

    class Scripted:
        def __init__(self, name: str, seconds: list[float]) -> None:
            self.name, self.seconds = name, iter(seconds)

        def turn(self) -> Turn:
            order.append(self.name)
            return Turn(100, next(self.seconds))

    found = take_turns({"thesis": Scripted("a", [10, 20, 10]), "ours": Scripted("b", [1, 4, 5])}, 3)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert found["median"] == {"thesis": 10, "ours": 25}
    assert found["ratio"] == {"ours": 5}


def test_the_studys_images_are_a_data_set(tmp_path: Path) -> None:
    write_data_set(tmp_path, drawings(4, (240, 230)), 1)
    data = load(tmp_path, magnifications=("40X",))
    assert len(data) == 4
    assert data.synthetic


def test_a_study_is_extrapolated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OurWay, "turn", lambda _: Turn(1000, 1.0))
    sampler, labels = tissue()
    seconds = table5.extrapolate(sampler, labels, ["alexnet", "resnet18"], CPU, batch_size=4)
    # 1,197 images of 15 patches, 20 epochs, four folds
    assert seconds["alexnet"] == pytest.approx(1436.4)
    assert seconds["total"] == pytest.approx(2 * 1436.4)


@pytest.mark.slow
def test_the_command_writes_what_it_measured(tmp_path: Path) -> None:
    arguments = ["--network", "squeezenet", "--images", "4", "--rounds", "1", "--workers", "1", "--batch-size", "15"]
    done = CliRunner().invoke(main, [*arguments, "--device", "cpu", "--json", str(tmp_path / "figures.json")])
    assert done.exit_code == 0, done.output
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["training"][0]["median"].keys() == {"thesis", "ours", "ours, augmented"}
    assert "Where our time goes" in done.output
