"""The command that counts which votes change."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.votes import main
from trainer.synthetic.dataset import write_tree


@pytest.mark.slow
def test_folded_and_fused_networks_vote_as_they_were_trained(tmp_path: Path) -> None:
    write_tree(tmp_path / "tissue", patients=1, images=1, seed=3)
    options = ["--most", "2", "--precision", "float32", "--json", str(tmp_path / "figures.json")]
    done = CliRunner().invoke(main, ["--data", str(tmp_path / "tissue"), *options])
    assert done.exit_code == 0, done.output
    assert "2 images, 30 votes" in done.output
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["as trained, float32"] == figures["as trained, float32"] | {"ratio": 1, "votes": 0, "furthest": 0}
    served = figures["as it serves, float32"]
    assert (served["votes"], served["verdicts"]) == (0, 0)
    assert served["furthest"] <= 0.001


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("path,label,patient,magnification\n")
    done = CliRunner().invoke(main, ["--data", str(tmp_path)])
    assert done.exit_code == 2
    assert "has no whole images at 40X" in done.output
