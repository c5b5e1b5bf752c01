"""Searches without training."""

from __future__ import annotations

import pytest

from testing.searches import Fake, faking


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Makes searches use a fake fitter: `fake()`, `fake(data_set)`."""
    return faking(monkeypatch)
