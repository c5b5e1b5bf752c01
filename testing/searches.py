"""Searches on a data set without files, with a fitter that fits nothing."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from testing.data_sets import many, rng
from testing.report_pages import Page, check_page
from trainer.data.datasets import ImageDataset
from trainer.data.splits import Split
from trainer.evaluation.out_of_fold import fold_result
from trainer.experiments import prepare
from trainer.fitting.fitters import TrainingData
from trainer.fitting.hardware import Hardware
from trainer.options import FitOptions
from trainer.schemas import FoldResult, PatchMetrics
from trainer.search import FinishedSearch, search

BASE = FitOptions(folds=3)
TRAINED = FitOptions(network="resnet18", mode="scratch", folds=3)
CPU = Hardware("cpu")


@dataclass
class FakeFitter:
    """A fitter that trains nothing: its logits are the labels with noise, least noise where C or the rate is 1e-3.

    Attributes:
        data: The images.
        options: The options of the fit.
        seen: Each split that it was asked for, with the options.
        kill_at: The number of the split at which it kills this process; 0 for none.
    """

    data: TrainingData
    options: FitOptions
    seen: list[tuple[Split, FitOptions]] = field(default_factory=list)
    kill_at: int = 0

    def with_options(self, options: FitOptions) -> FakeFitter:
        """Return a fitter with other options that notes its splits in the same list."""
        return FakeFitter(self.data, options, self.seen, self.kill_at)

    def out_of_fold(self, split: Split, **_: Any) -> FoldResult:
        """Return made-up predictions of a split; raise a FloatingPointError for a learning rate above 0.01."""
        self.seen.append((split, self.options))
        if len(self.seen) == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        main = self.data.main
        classes = len(main.task.classes)
        rate = self.options.c if self.options.mode == "frozen" else self.options.learning_rate
        if self.options.mode != "frozen" and rate > 1e-2:
            raise FloatingPointError("The loss is no number any more.")
        noise = rng(7).normal(0, 1, (len(main), 4, classes)) * (1 + abs(np.log10(rate) + 3) / 2)
        logits = [0.2 * (np.eye(classes)[main.labels[at]] + noise[at]) for at in split.test]
        figures = PatchMetrics(accuracy=1, loss=0)
        return fold_result(split.name, split.test, main.labels[split.test], logits, training=figures)


Fake: TypeAlias = Callable[..., FakeFitter]


def faking(monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Return a function that makes searches use a fake fitter and a data set without files, and returns the fitter."""

    def use(data: ImageDataset | None = None, *, kill_at: int = 0) -> FakeFitter:
        data = many(9, 2) if data is None else data
        fitter = FakeFitter(TrainingData(data, data.subset(lambda _: False)), BASE, kill_at=kill_at)
        monkeypatch.setattr(prepare, "read_training_data", lambda *_, **__: fitter.data)
        monkeypatch.setattr(prepare, "make_fitter", lambda _, options, *__, **___: fitter.with_options(options))
        return fitter

    return use


def run(out: Path, base: FitOptions = BASE, **options: Any) -> FinishedSearch:
    """Search with six trials and three inner folds, unless `options` say otherwise."""
    return search(
        "nowhere", out, base, CPU, **{"trials": 6, "inner_folds": 3, "cache": out.parent / "cache", **options}
    )


def check_report(out: Path) -> Page:
    """Check what holds for the report of every search."""
    page = check_page((out / "search.html").read_text())
    markdown = (out / "search.md").read_text()
    for name in re.findall(r"\]\((figures/[^)]+)\)", markdown):
        assert ET.parse(out / name).getroot().tag.endswith("svg")
    assert len(list((out / "figures").iterdir())) == markdown.count("](figures/")
    return page
