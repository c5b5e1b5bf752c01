"""`python -m trainer`: a newcomer gets along with it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from classifier.bundle import Bundle
from classifier.grid import THESIS
from testing.data_sets import write_small_tree
from trainer.__main__ import main
from trainer.data.records import read_records
from trainer.options import FitOptions
from trainer.synthetic.dataset import SIZE


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def refused(result: Result) -> list[str]:
    """The sentences of a refusal: exit status 1 and no traceback."""
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    return [line for line in result.stderr.splitlines() if line.startswith(("Error: ", "--"))]


@pytest.mark.parametrize("command", [(), ("fit",), ("study",), ("search",), ("synthetic",)])
def test_help_explains(command: tuple[str, ...]) -> None:
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert "synthetic" in result.output if not command else "--out" in result.output


def test_help_of_fit_names_what_can_be_chosen() -> None:
    text = run("fit", "--help").output
    for option in ("--data", "--network", "--mode", "--protocol", "--folds", "--magnification", "--seed", "--epochs"):
        assert option in text
    for word in ("efficientnet_lite0", "frozen", "finetune", "lopo", "thesis", "manifest.csv", "BreakHis"):
        assert word in text


@pytest.mark.slow
def test_from_nothing_to_a_model(tmp_path: Path) -> None:
    drawn = run("synthetic", "--out", tmp_path / "data", "--patients", 2, "--images", 1)
    assert drawn.exit_code == 0, drawn.output
    assert "4 synthetic images of 4 invented patients" in drawn.output
    images = read_records(tmp_path / "data").images
    assert [Image.open(image.path).size for image in images] == [SIZE] * 4

    made = run("fit", "--data", tmp_path / "data", "--out", tmp_path / "model", "--folds", 2, "--cache", tmp_path / "c")
    assert made.exit_code == 0, made.output
    assert "balanced accuracy" in made.output
    assert "the verdicts of this model are meaningless" in made.output
    assert "Research use only, not a diagnosis." in made.output
    assert Bundle.load(tmp_path / "model").metadata.synthetic


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree with small images; no test changes it."""
    return write_small_tree(tmp_path_factory.mktemp("drawn") / "data", patients=2)


@pytest.mark.slow
def test_the_thesis_grid_can_be_chosen(drawn: Path, tmp_path: Path) -> None:
    options = ("--data", drawn, "--folds", 2, "--cache", tmp_path / "c")
    assert run("fit", *options, "--out", tmp_path / "model", "--grid", "thesis").exit_code == 0
    assert Bundle.load(tmp_path / "model").metadata.grid == THESIS


@pytest.mark.slow
def test_features_are_kept_in_the_data_folder(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATCHVOTE_DATA", str(tmp_path / "var"))
    assert run("fit", "--data", drawn, "--out", tmp_path / "model", "--folds", 2).exit_code == 0
    assert len(list((tmp_path / "var" / "cache" / "features").rglob("*.npy"))) == 4


def test_all_problems_of_the_data_are_listed(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("path,label,patient\na.png,maybe,p1\nb.png,benign,\n", encoding="utf-8")
    sentences = refused(run("fit", "--data", tmp_path, "--out", tmp_path / "model"))
    assert len(sentences) == 4
    assert not (tmp_path / "model").exists()


def test_all_problems_of_the_options_are_listed(tmp_path: Path) -> None:
    sentences = refused(run("fit", "--data", tmp_path, "--out", tmp_path, "--network", "resnet9000"))
    assert len(sentences) == 2


@pytest.mark.parametrize(
    ("option", "value"),
    [("--folds", 1), ("--epochs", 0), ("--learning-rate", -1), ("--seed", -1), ("--also-weight", 2), ("--c", 0)],
)
def test_numbers_out_of_range_are_sentences(tmp_path: Path, option: str, value: float) -> None:
    (sentence,) = refused(run("fit", "--data", tmp_path, "--out", tmp_path / "model", option, value))
    assert sentence.startswith(f"{option}: ")


def test_too_few_patients_is_a_sentence(drawn: Path, tmp_path: Path) -> None:
    (sentence,) = refused(run("fit", "--data", drawn, "--out", tmp_path / "model"))
    assert "choose fewer folds" in sentence


def test_a_missing_folder_is_a_sentence(tmp_path: Path) -> None:
    (sentence,) = refused(run("fit", "--data", tmp_path / "nowhere", "--out", tmp_path / "model"))
    assert sentence.endswith("does not exist.")


def test_synthetic_does_not_mix_with_other_files(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    (sentence,) = refused(run("synthetic", "--out", tmp_path))
    assert "is not empty" in sentence


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data and a study of it."""
    folder = tmp_path_factory.mktemp("studied")
    write_small_tree(folder / "data", patients=2, images=2)
    made = run("study", "--data", folder / "data", "--out", folder / "out", "--folds", 2, "--cache", folder / "cache")
    assert made.exit_code == 0, made.output
    assert "report.html" in made.output
    assert "Research use only, not a diagnosis." in made.output
    return folder


def test_a_study_without_options_gives_a_report(studied: Path) -> None:
    written = {path.name for path in (studied / "out").iterdir()}
    assert {"report.html", "report.md", "results.json", "run.json", "predictions.csv", "metrics.csv"} <= written
    page = (studied / "out" / "report.html").read_text(encoding="utf-8")
    assert "efficientnet_lite0 frozen" in page
    assert "The images are synthetic" in page


def test_two_studies_are_compared(studied: Path) -> None:
    result = run("compare", studied / "out", studied / "out", "--out", studied / "comparison")
    assert result.exit_code == 0, result.output
    assert "0 of 8 verdicts differ" in result.output
    assert (studied / "comparison" / "comparison.html").is_file()
    (sentence,) = refused(run("compare", studied / "out", studied / "data"))
    assert "contains no finished study" in sentence
    (sentence,) = refused(run("compare", studied / "out", studied / "out", "--candidate-a", "nobody"))
    assert "efficientnet_lite0 frozen" in sentence


def test_options_come_from_a_file_and_what_is_typed_counts_more(studied: Path, tmp_path: Path) -> None:
    file = tmp_path / "best.json"
    file.write_text(FitOptions(folds=2, c=0.01, balance="patient").model_dump_json(), encoding="utf-8")
    options = ("--data", studied / "data", "--cache", studied / "cache", "--options", file)
    made = run("fit", *options, "--out", tmp_path / "model", "--c", 0.1)
    assert made.exit_code == 0, made.output
    kept = Bundle.load(tmp_path / "model").metadata.training["options"]
    assert (kept["folds"], kept["c"], kept["balance"]) == (2, 0.1, "patient")
    file.write_text('{"learning_rat": 1}', encoding="utf-8")
    assert "does not contain options" in refused(run("fit", *options, "--out", tmp_path / "other"))[0]


def test_networks_are_listed_with_their_weights() -> None:
    lines = run("networks").output.splitlines()
    assert len(lines) == 8
    assert any(line.startswith("efficientnet_lite0") and "Apache-2.0" in line for line in lines)


def test_the_thesis_stands_for_its_four_networks(studied: Path, tmp_path: Path) -> None:
    """Refused in one go: SqueezeNet cannot be frozen, and weights of the others are never looked for."""
    options = ("--data", studied / "data", "--out", tmp_path / "out", "--network", "thesis", "--mode", "frozen")
    (sentence,) = refused(run("study", *options))
    assert sentence.startswith("Error: squeezenet frozen: ")


def test_a_planted_leak_is_refused(studied: Path, tmp_path: Path) -> None:
    """One image under two names, of two patients."""
    shutil.copytree(studied / "data", tmp_path / "data")
    first = min((tmp_path / "data").rglob("SOB_B*.png"))
    year_and_case = first.name.split("-", 2)[2].rsplit("-", 2)[0]
    second = first.with_name(first.name.replace(year_and_case, "99999"))
    shutil.copy(first, second)
    (sentence,) = refused(run("study", "--data", tmp_path / "data", "--out", tmp_path / "out", "--folds", 2))
    assert "Equal pixels under different patients" in sentence
    assert first.name in sentence and second.name in sentence


def test_a_file_of_options_names_the_candidate_too(studied: Path, tmp_path: Path) -> None:
    file = tmp_path / "best.json"
    file.write_text(FitOptions(network="squeezenet", mode="frozen", folds=2).model_dump_json(), encoding="utf-8")
    options = ("--data", studied / "data", "--out", tmp_path / "out", "--options", file)
    (sentence,) = refused(run("study", *options))
    assert sentence.startswith("Error: squeezenet frozen: ")
    both = run("study", *options, "--as-thesis")
    assert both.exit_code == 2
    assert "choose one" in both.output


def test_the_thesiss_method_takes_the_thesiss_networks(studied: Path, tmp_path: Path) -> None:
    options = ("--data", studied / "data", "--out", tmp_path / "out", "--as-thesis", "--folds", 9)
    (sentence,) = refused(run("study", *options))
    assert "9 folds need 9 images" in sentence  # so folds by image, as the thesis's
    options = ("--data", studied / "data", "--out", tmp_path / "out", "--as-thesis", "--rates", 0)
    assert "0 is not a learning rate" in refused(run("study", *options))[0]
