"""The command line: `python -m trainer` fits models, runs studies and searches, and draws synthetic data sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from classifier.bundle import INTENDED_USE
from trainer import cli

if TYPE_CHECKING:  # PyTorch is slow to import, and --help does not need it
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
    """Fit models for Patchvote.

    Start with `synthetic` if you have no images. Then use `study` to compare networks and options, and `fit` to fit a
    model. `search` looks for better options, and `compare` compares two studies.

    Research use only, not a diagnosis.
    """


@main.command()
@cli.shared_options
@click.option("--out", required=True, type=click.Path(path_type=Path), help="New folder for the model (a bundle).")
@click.option("--name", default="", help="Name of the model.  [default: the name of the folder]")
@cli.fit_options("network", "mode", *_MEASURED, *_TRAINED)
@click.option(
    "--citation", default="", help="Citation of the images.  [default: known for BreakHis and synthetic images]"
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
    """Measure the options by cross-validation, then fit a model on all images.

    If you stop the command with Ctrl-C, the same command resumes where it stopped.
    """
    with cli.errors_as_messages():
        from trainer.experiments.fit import fit as fit_model
        from trainer.options import FitOptions

        fitted = fit_model(
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
        f"{' (synthetic: the verdicts of this model are meaningless)' if metadata.synthetic else ''}\n"
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
    help="Folder for the report; an unfinished study in it is resumed.",
)
@click.option(
    "--network",
    "networks",
    multiple=True,
    help="NETWORK or NETWORK:MODE. May be repeated; `thesis` means the thesis's four networks.  [default: that of "
    "--options, the thesis's four with --as-thesis, else efficientnet_lite0]",
)
@click.option(
    "--mode",
    type=click.Choice(["frozen", "finetune", "scratch"]),
    help="Mode of the networks named without one.  [default: frozen if ImageNet weights are installed, else scratch]",
)
@click.option(
    "--as-thesis", is_flag=True, help="Use the method of the thesis, leaking folds included; other options override it."
)
@click.option(
    "--rates", multiple=True, type=float, help="Additional learning rates for the first trained network (Table 1)."
)
@click.option("--fewer-epochs", type=int, help="Another number of epochs for the first trained network (Figure 17).")
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

    Without options, the study has one candidate: the network whose ImageNet weights are installed, frozen, with five
    folds by patient at 40X. If you stop the command with Ctrl-C, the same command resumes where it stopped.
    """
    with cli.errors_as_messages():
        from trainer import report
        from trainer.experiments import study as studies
        from trainer.fitting import hardware
        from trainer.options import THESIS, FitOptions

        if as_thesis and options_file is not None:
            raise click.UsageError("--as-thesis and --options both set the training options: choose one.")
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
        chosen = hardware.choose(device, precision, compiled=compiled)
        finished = studies.study(
            data, out, candidates, chosen,
            lists=fold_lists, without=without, cache=cache or cli.default_cache(), progress=True,
        )  # fmt: skip
        root = data if data.is_dir() else data.parent
        report.write(out, finished.results, finished.run, find_image=lambda image: root / image.file)
    for note in finished.results.notes:
        click.echo(note)
    click.echo(f"\nThe report: {out / 'report.html'}. {INTENDED_USE}")


@main.command()
@cli.shared_options
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder for the report; an unfinished search in it is resumed.",
)
@click.option("--trials", default=20, show_default=True, help="Number of trials for each fold.")
@click.option(
    "--inner-folds",
    default=4,
    show_default=True,
    help="Number of folds that measure a trial; 0 leaves one patient out at a time.",
)
@click.option(
    "--objective",
    type=click.Choice(["log_loss", "auc"]),
    default="log_loss",
    show_default=True,
    help="Objective that ranks the trials; the log loss gives each class equal weight.",
)
@click.option("--only", multiple=True, help="Search only this option. May be repeated.")
@click.option(
    "--outer/--no-outer",
    default=True,
    show_default=True,
    help="Also search inside each fold's training patients, which gives unbiased metrics.",
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
    """Search for better options, on training patients only.

    Each fold has its own search, which does not see the patients that the fold tests. A last search on all patients
    writes `best.json`, which `fit` and `study` accept as --options. If you stop the command with Ctrl-C, the same
    command resumes where it stopped.
    """
    with cli.errors_as_messages():
        from trainer.fitting import hardware
        from trainer.options import FitOptions
        from trainer.search import search as search_options
        from trainer.search import space_for

        base = cli.options_of(context, FitOptions(), options_file)
        search_options(
            data, out, base, hardware.choose(device, precision, compiled=compiled),
            trials=trials, inner_folds=inner_folds, objective=objective, space=space_for(base, only), nested=outer,
            lists=fold_lists, without=without, cache=cache or cli.default_cache(), progress=True,
        )  # fmt: skip
    click.echo(f"\nThe report: {out / 'search.html'}. The options: {out / 'best.json'}. {INTENDED_USE}")


@main.command()
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@click.option("--candidate-a", default="", help="Name of the candidate of study A.  [default: the best one]")
@click.option("--candidate-b", default="", help="Name of the candidate of study B.  [default: the best one]")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the comparison as HTML and Markdown.")
@click.option("--seed", default=0, show_default=True, help="Seed of the bootstrap.")
def compare(*, a: Path, b: Path, candidate_a: str, candidate_b: str, out: Path | None, seed: int) -> None:
    """Compare two studies on the images that both tested.

    A and B are folders that `study` wrote; they may be the same folder. The intervals of the differences resample
    patients.
    """
    with cli.errors_as_messages():
        from trainer.experiments.compare import compare as compare_studies
        from trainer.report import comparison as page

        comparison = compare_studies(a, b, candidate_a=candidate_a, candidate_b=candidate_b, seed=seed)
        click.echo(page.text(comparison))
        if out is not None:
            page.write(out, comparison)
            click.echo(f"Written to {out}.")


@main.command()
def networks() -> None:
    """List the networks and the sources of their ImageNet weights."""
    from classifier.networks import NETWORKS

    for network in NETWORKS.values():
        click.echo(f"{network.name:20} {network.weights_source}")


@main.command()
@click.option("--out", required=True, type=click.Path(path_type=Path), help="New folder for the images.")
@click.option("--patients", default=6, show_default=True, help="Number of patients per class.")
@click.option("--images", default=4, show_default=True, help="Number of images per patient.")
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same images.")
def synthetic(out: Path, patients: int, images: int, seed: int) -> None:
    """Draw a data set of synthetic micrographs, to try Patchvote without real images.

    The folder has the layout of BreakHis and a file SYNTHETIC.txt. A model that is fitted on it is marked as
    synthetic; its verdicts are meaningless.
    """
    with cli.errors_as_messages():
        from trainer.synthetic.dataset import write_tree

        count = write_tree(out, patients=patients, images=images, seed=seed, progress=True)
    click.echo(f"{count} synthetic images of {2 * patients} invented patients in {out}.")


if __name__ == "__main__":
    main(prog_name="python -m trainer")
