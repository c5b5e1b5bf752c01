"""Searches without training."""

from __future__ import annotations

import pytest

from testing.searches import Fake, faking
from trainer.report import drawing


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Makes searches use a fake fitter: `fake()`, `fake(data_set)`."""
    return faking(monkeypatch)


@pytest.fixture
def blank_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports get an empty drawing for each plot; what they contain is proved in `test_report` and `test_models`."""
    blank = '<svg xmlns="http://www.w3.org/2000/svg" role="img"></svg>'
    monkeypatch.setattr(drawing, "render", lambda *_, **__: blank)
