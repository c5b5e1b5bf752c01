"""The report of a search tells all, and loudly where nothing was measured."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from testing.data_sets import many
from testing.searches import BASE, Fake, check_report, run
from trainer.search.subsets import ALL_IMAGES


def test_the_report_tells_all(fake: Fake, tmp_path: Path) -> None:
    fake()
    found = run(tmp_path, trials=12).results
    page = check_report(tmp_path)
    assert page.titles[0] == "Search for options: efficientnet_lite0, frozen"
    assert "without an unbiased metric" not in " ".join(page.text)
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == {"history", "slices", "importances"}
    assert sum(found.final.importances.values()) == pytest.approx(1)
    chosen = page.tables["The best trial of each search"]
    assert [row[0] for row in chosen[1:]] == [ALL_IMAGES, "fold 1 of 3", "fold 2 of 3", "fold 3 of 3"]
    with (tmp_path / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 * 12
    best = [row for row in rows if row["chosen"] == "True"]
    assert [float(row["c"]) for row in best] == [one.best.values["c"] for one in found.searches]
    assert all(float(row["log_loss"]) == min(float(o["log_loss"]) for o in rows if o["split"] == row["split"])
               for row in best)  # fmt: skip


def test_one_trial_has_no_importances_but_a_report(fake: Fake, tmp_path: Path) -> None:
    fake()
    found = run(tmp_path, trials=1).results
    assert found.final.importances == {}
    assert "Too few trials" in " ".join(check_report(tmp_path).text)


def test_a_search_that_is_not_measured_says_so_loudly(fake: Fake, tmp_path: Path) -> None:
    fitter = fake()
    nested = run(tmp_path / "nested").results
    fitter.seen.clear()
    found = run(tmp_path / "short", nested=False).results
    assert found.honest is None
    assert found.splits == []
    assert found.final == nested.final
    assert all(split.name.startswith(ALL_IMAGES) for split, _ in fitter.seen)
    assert "This choice comes without an unbiased metric" in (tmp_path / "short" / "search.md").read_text()
    check_report(tmp_path / "short")
    # What was left out can be done later.
    assert run(tmp_path / "short").results == nested


def test_many_splits_share_a_panel(fake: Fake, tmp_path: Path) -> None:
    fake(many(6, 1))
    run(tmp_path, BASE.replace(protocol="lopo"), trials=2)
    check_report(tmp_path)
    assert "<summary>The best trial of each search" in (tmp_path / "search.html").read_text()
