"""The benchmark of the case list fills two databases and requests every page."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.history_pages import PAGES


@pytest.mark.slow
def test_it_measures_every_page_for_its_people(run: Any) -> None:
    printed, figures = run("history", "--cases", "60", "--many", "150", "--repeats", "1")
    assert len(figures["pages"]) == sum(len(people) for _, people, _ in PAGES)
    assert figures["database"].startswith("sqlite 3.")
    for page in figures["pages"]:
        assert page["queries"]["small"] == page["queries"]["large"], page["name"]
        assert page["name"] in printed
    shown = {page["name"]: page["kilobytes"]["large"] for page in figures["pages"] if page["person"] == "reviewer"}
    nothing = shown["history, search that finds nothing"]
    found = ("failed", "queued", "malignant", "not reviewed yet", "reviewed", "reviewer disagrees")
    assert all(shown[f"history, {name}"] > nothing for name in found)
