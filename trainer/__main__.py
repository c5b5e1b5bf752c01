"""`python -m trainer`: make models, studies and synthetic data sets on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from classifier.bundle import INTENDED_USE
from trainer import cli

if TYPE_CHECKING:  # PyTorch is slow to import: --help needs none of it
    from trainer.fitting.hardware import Precision
    from trainer.options import Mode

_MEASURED = (
    "protocol",
    "folds",
    "repeats",
    "magnification",
    "also",
    "also_weight",
    "crops",
    "threshold_rule",
    "grid",
    "seed",
)
_TRAINED = (
    "balance", "c", "epochs", "patience", "learning_rate", "backbone_rate", "schedule", "optimiser", "weight_decay",
    "ema", "draws", "anywhere", "turn", "stain", "batch_size", "seeds", "test_time_flips",
)  # fmt: skip
_COMMON_SENSE = ("task", *_MEASURED, *_TRAINED)


@click.group()
def main() -> None:
    """Make models for Patchvote.

    Start with `synthetic` if you have no images, then `study` to compare ways to make a model, then `fit` to make
    one; `search` looks for better options, `compare` sets two studies side by side.

    Research use only, not a diagnosis.
    """


@main.command()
@cli.shared_options
@click.option("--out", required=True, type=click.Path(path_type=Path), help="New folder for the model (a bundle).")
@click.option("--name", default="", help="The model's name.  [default: the name of the folder]")
@cli.fit_options("network", "mode", *_MEASURED, *_TRAINED)
@click.option(
    "--citation", default="", help="How the images are cited.  [default: known for BreakHis and synthetic images]"
)
@click.pass_context
def fit(
    context: click.Context,
    /,
    *,
    data: Path,
    fold_lists: Path | None,
    options_file: Path | None,
    device: str,
    precision: Precision,
    cache: Path | None,
    out: Path,
    name: str,
    citation: str,
    **_options: object,
) -> None:
    """Measure a way to make a model by cross-validation, then make it of all images.

    Ctrl-C loses nothing: the same command goes on.
    """
    with cli.sentences():
        from trainer.experiments.fit import fit as make
        from trainer.options import FitOptions

        fitted = make(
            data,
            out,
            cli.options_of(context, FitOptions(), options_file),
            name=name,
            citation=citation,
            device=device,
            precision=precision,
            lists=fold_lists,
            cache=cache or cli.default_cache(),
            progress=True,
        )
    metadata = fitted.bundle.metadata
    for note in metadata.data["notes"]:
        click.echo(note)
    click.echo(
        f"\nModel {metadata.name}: {metadata.network}, threshold {metadata.threshold:.3f}\n"
        f"Data: {metadata.data['images']} images of {metadata.data['patients']} patients"
        f"{' (synthetic: no verdict of this model means anything)' if metadata.synthetic else ''}\n"
        f"Measured by {metadata.metrics['description']}:"
    )
    for measure, estimate in fitted.metrics.measures.items():
        label = measure.replace("_", " ")
        click.echo(f"  {label:18} {estimate.value:.3f}  ({estimate.low:.3f} to {estimate.high:.3f})")
    confusion = ", ".join(f"{key.upper()} {count}" for key, count in fitted.metrics.confusion.items())
    click.echo(f"  {'confusion':18} {confusion}\nWritten to {fitted.bundle.folder}. {INTENDED_USE}")


@main.command()
@cli.shared_options
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder for the report; a study in it is gone on with.",
)
@click.option(
    "--network",
    "networks",
    multiple=True,
    help="NETWORK or NETWORK:MODE. May be repeated; `thesis` stands for the thesis's four.  [default: what --options "
    "says, the thesis's four with --as-thesis, else efficientnet_lite0]",
)
@click.option(
    "--mode",
    type=click.Choice(["frozen", "finetune", "scratch"]),
    help="Of networks named without one.  [default: frozen where ImageNet weights are installed, else scratch]",
)
@click.option(
    "--as-thesis", is_flag=True, help="The thesis's own method, leaking folds included, unless said otherwise."
)
@click.option("--rates", multiple=True, type=float, help="More learning rates for the first trained network (Table 1).")
@click.option("--fewer-epochs", type=int, help="Another number of epochs for it (Figure 17).")
@click.option("--without", multiple=True, help="Leave images of this subtype out. May be repeated.")
@click.option("--compile", "compiled", is_flag=True, help="Compile networks with torch.compile before training.")
@cli.fit_options(*_COMMON_SENSE)
@click.pass_context
def study(
    context: click.Context,
    /,
    *,
    data: Path,
    fold_lists: Path | None,
    options_file: Path | None,
    device: str,
    precision: Precision,
    cache: Path | None,
    out: Path,
    networks: tuple[str, ...],
    mode: Mode | None,
    as_thesis: bool,
    rates: tuple[float, ...],
    fewer_epochs: int | None,
    without: tuple[str, ...],
    compiled: bool,
    **_options: object,
) -> None:
    """Compare networks on the same folds and write one report.

    Without options: the network whose ImageNet weights are installed, frozen, five folds by patient, 40X. Ctrl-C
    loses nothing: the same command goes on.
    """
    with cli.sentences():
        from trainer import report
        from trainer.experiments import study as studies
        from trainer.fitting import hardware
        from trainer.options import THESIS, FitOptions

        if as_thesis and options_file is not None:
            raise click.UsageError("--as-thesis and --options both say how to train: choose one.")
        options = cli.options_of(context, THESIS if as_thesis else FitOptions(), options_file)
        if not networks:
            recipe = f"{options.network}:{options.mode}"
            networks = ("thesis",) if as_thesis else (recipe,) if options_file is not None else (options.network,)
        candidates = studies.plan(
            [one for entry in networks for one in (studies.THESIS_NETWORKS if entry == "thesis" else (entry,))],
            options,
            mode="scratch" if as_thesis and mode is None else mode,
            rates=rates,
            fewer_epochs=fewer_epochs,
        )
        machine = hardware.choose(device, precision, compiled=compiled)
        done = studies.study(
            data, out, candidates, machine,
            lists=fold_lists, without=without, cache=cache or cli.default_cache(), progress=True,
        )  # fmt: skip
        root = data if data.is_dir() else data.parent
        report.write(out, done.results, done.run, find_image=lambda image: root / image.file)
    for note in done.results.notes:
        click.echo(note)
    click.echo(f"\nThe report: {out / 'report.html'}. {INTENDED_USE}")


@main.command()
@cli.shared_options
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder; a search in it is gone on with.")
@click.option("--trials", default=20, show_default=True, help="Options tried for each fold.")
@click.option(
    "--inner-folds", default=4, show_default=True, help="By which a trial is judged; 0 leaves one patient out."
)
@click.option(
    "--objective",
    type=click.Choice(["log_loss", "auc"]),
    default="log_loss",
    show_default=True,
    help="What a trial is judged by, classes weighing the same.",
)
@click.option("--only", multiple=True, help="Search for this option alone. May be repeated.")
@click.option(
    "--outer/--no-outer",
    default=True,
    show_default=True,
    help="Also search inside each fold's training patients, so that the figures are honest.",
)
@click.option("--without", multiple=True, help="Leave images of this subtype out. May be repeated.")
@click.option("--compile", "compiled", is_flag=True, help="Compile networks with torch.compile before training.")
@cli.fit_options("network", "mode", *_COMMON_SENSE)
@click.pass_context
def search(
    context: click.Context,
    /,
    *,
    data: Path,
    fold_lists: Path | None,
    options_file: Path | None,
    device: str,
    precision: Precision,
    cache: Path | None,
    out: Path,
    trials: int,
    inner_folds: int,
    objective: Literal["log_loss", "auc"],
    only: tuple[str, ...],
    outer: bool,
    without: tuple[str, ...],
    compiled: bool,
    **_options: object,
) -> None:
    """Look for better options, inside training patients alone.

    Every fold searches anew without the patients that it tests; `best.json` comes from a last search on all
    patients: `fit` and `study` take it as --options. Ctrl-C loses nothing: the same command goes on.
    """
    with cli.sentences():
        from trainer.fitting import hardware
        from trainer.options import FitOptions
        from trainer.search import search as look
        from trainer.search import space_for

        base = cli.options_of(context, FitOptions(), options_file)
        look(
            data, out, base, hardware.choose(device, precision, compiled=compiled),
            trials=trials, inner_folds=inner_folds, objective=objective, space=space_for(base, only), nested=outer,
            lists=fold_lists, without=without, cache=cache or cli.default_cache(), progress=True,
        )  # fmt: skip
    click.echo(f"\nThe report: {out / 'search.html'}. The options: {out / 'best.json'}. {INTENDED_USE}")


@main.command()
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@click.option("--candidate-a", default="", help="Of study A, by its name.  [default: the best one]")
@click.option("--candidate-b", default="", help="Of study B, by its name.  [default: the best one]")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the comparison as HTML and Markdown.")
@click.option("--seed", default=0, show_default=True, help="Of the bootstrap.")
def compare(*, a: Path, b: Path, candidate_a: str, candidate_b: str, out: Path | None, seed: int) -> None:
    """Set two studies side by side, on the images that both tested.

    A and B are folders that `study` wrote; they may be the same one. The differences' intervals resample patients.
    """
    with cli.sentences():
        from trainer.experiments.compare import compare as compare_studies
        from trainer.report import comparison as page

        comparison = compare_studies(a, b, candidate_a=candidate_a, candidate_b=candidate_b, seed=seed)
        click.echo(page.text(comparison))
        if out is not None:
            page.write(out, comparison)
            click.echo(f"Written to {out}.")


@main.command()
def networks() -> None:
    """List the networks, and where their ImageNet weights come from."""
    from classifier.networks import NETWORKS

    for network in NETWORKS.values():
        click.echo(f"{network.name:20} {network.weights_source}")


@main.command()
@click.option("--out", required=True, type=click.Path(path_type=Path), help="New folder for the images.")
@click.option("--patients", default=6, show_default=True, help="Patients of each class.")
@click.option("--images", default=4, show_default=True, help="Images of each patient.")
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same images.")
def synthetic(out: Path, patients: int, images: int, seed: int) -> None:
    """Draw a data set of synthetic micrographs, to try Patchvote without real ones.

    The folder gets the layout of BreakHis and a file SYNTHETIC.txt. A model that is fitted on it says that it is
    synthetic; its verdicts mean nothing.
    """
    with cli.sentences():
        from trainer.synthetic.dataset import write_tree

        count = write_tree(out, patients=patients, images=images, seed=seed, progress=True)
    click.echo(f"{count} synthetic images of {2 * patients} invented patients in {out}.")


if __name__ == "__main__":
    main(prog_name="python -m trainer")
