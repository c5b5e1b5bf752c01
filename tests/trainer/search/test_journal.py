"""A search that was broken off goes on; another one's folder is refused."""

from __future__ import annotations

import json
import multiprocessing
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import FloatDistribution

from testing.data_sets import many
from testing.searches import BASE, Fake, run
from trainer.data.splits import Split
from trainer.errors import OptionsError
from trainer.schemas import FoldResult

pytestmark = pytest.mark.usefixtures("blank_plots")


def written(out: Path) -> dict[str, str]:
    """All files that must not depend on when they were made."""
    return {name: (out / name).read_text() for name in ("search.json", "best.json", "trials.csv")}


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.parametrize("kill_at", [2, 4, 17, 30, 75])
def test_killed_and_run_again_it_ends_as_if_undisturbed(fake: Fake, tmp_path: Path, kill_at: int) -> None:
    fake()
    undisturbed = run(tmp_path / "undisturbed")
    fake(kill_at=kill_at)
    process = multiprocessing.get_context("fork").Process(target=run, args=(tmp_path / "killed",))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not (tmp_path / "killed" / "search.json").exists()
    again = fake()
    found = run(tmp_path / "killed")
    assert found.results == undisturbed.results
    assert written(tmp_path / "killed") == written(tmp_path / "undisturbed")
    assert all(len(one.trials) == 6 for one in found.results.searches)
    assert len(again.seen) < 3 * 2 + 4 * 6 * 3 + (kill_at < 7)


@pytest.mark.slow
def test_a_line_that_was_not_written_to_its_end_is_left_out(fake: Fake, tmp_path: Path) -> None:
    fake()
    run(tmp_path / "undisturbed")
    run(tmp_path / "torn", trials=3)
    with (tmp_path / "torn" / "journal.log").open("a") as file:
        file.write('{"op_code": 4, "worker')
    run(tmp_path / "torn")
    assert written(tmp_path / "torn") == written(tmp_path / "undisturbed")


@pytest.mark.slow
def test_more_trials_go_on_and_fewer_compute_nothing(fake: Fake, tmp_path: Path) -> None:
    fake()
    run(tmp_path / "three", trials=3)
    run(tmp_path / "six")
    fitter = fake()
    run(tmp_path / "six", trials=3)
    assert len(fitter.seen) == 2 * 3
    assert written(tmp_path / "six") == written(tmp_path / "three")
    run(tmp_path / "three")
    assert len(json.loads((tmp_path / "three" / "search.json").read_text())["final"]["trials"]) == 6


def test_importances_are_of_the_trials_asked_for(fake: Fake, tmp_path: Path) -> None:
    fake()
    run(tmp_path / "ten", trials=10, nested=False)
    found = run(tmp_path / "ten", trials=9, nested=False).results
    assert found.final.importances
    assert found == run(tmp_path / "nine", trials=9, nested=False).results


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"base": BASE.replace(balance="patient", seed=1)}, "options (balance, seed)"),
        ({"space": {"c": FloatDistribution(1e-5, 1e-3, log=True)}}, "search space"),
        ({"objective": "auc"}, "objective"),
        ({"inner_folds": 2}, "inner folds"),
        ({"data": many(8, 2)}, "images"),
    ],
)
def test_another_searchs_journal_is_refused(fake: Fake, tmp_path: Path, other: dict[str, Any], words: str) -> None:
    fake()
    run(tmp_path, trials=1)
    before = (tmp_path / "journal.log").read_bytes()
    fitter = fake(other.pop("data", None))
    with pytest.raises(OptionsError, match=re.escape(words)):
        run(tmp_path, **other)
    assert not fitter.seen
    assert (tmp_path / "journal.log").read_bytes() == before


def test_a_file_that_is_no_journal_is_refused(fake: Fake, tmp_path: Path) -> None:
    fake()
    for content in ("Dear diary,\nnothing happened.\n", "Dear diary, nothing happened."):
        (tmp_path / "journal.log").write_text(content)
        with pytest.raises(OptionsError, match="not the journal of a search"):
            run(tmp_path)
        assert (tmp_path / "journal.log").read_text() == content


def test_two_searches_in_one_folder_are_refused(fake: Fake, tmp_path: Path) -> None:
    fitter = fake()
    problems: list[str] = []

    def meanwhile(split: Split, **_: Any) -> FoldResult:
        with pytest.raises(ValueError, match="Another process is using") as caught:
            run(tmp_path)
        problems.append(str(caught.value))
        raise KeyboardInterrupt

    fitter.with_options = lambda options: fitter  # type: ignore[method-assign]  # noqa: ARG005
    fitter.out_of_fold = meanwhile  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    assert "Another process is using" in problems[0]
