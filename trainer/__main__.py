"""`python -m trainer`: make models and synthetic data sets on the command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from classifier.bundle import INTENDED_USE
from classifier.grid import GRIDS
from trainer.records import MAGNIFICATIONS

_NETWORKS = "efficientnet_lite0, resnet18, alexnet, shufflenet_v2, squeezenet, vgg16, resnet50 or resnet152"


@click.group()
def main() -> None:
    """Make models for Patchvote.

    Start with `synthetic` if you have no images, then `fit` to turn images into a model.

    Research use only, not a diagnosis.
    """


@main.command()
@click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path),
    help="Your images: a CSV file with the columns path, label and patient, a folder with such a manifest.csv, "
    "or a folder tree with BreakHis file names.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="New folder for the model (a bundle).")
@click.option("--name", default="", help="The model's name.  [default: the name of the folder]")
@click.option("--network", default="efficientnet_lite0", show_default=True, help=f"{_NETWORKS}.")
@click.option(
    "--mode",
    type=click.Choice(["frozen", "finetune"]),
    default="frozen",
    show_default=True,
    help="frozen fits only the last layer, on features of an ImageNet network: minutes on a CPU. "
    "finetune trains the whole network: wants a GPU.",
)
@click.option(
    "--scratch", is_flag=True, help="finetune from a random start instead of ImageNet weights, as the thesis did."
)
@click.option(
    "--protocol",
    type=click.Choice(["patient", "lopo", "thesis"]),
    default="patient",
    show_default=True,
    help="How the model is measured: folds by patient, leave one patient out, or folds by image as in the thesis "
    "(whose numbers are too high, because patients leak).",
)
@click.option("--folds", default=5, show_default=True, help="Folds of the protocols patient and thesis.")
@click.option("--repeats", default=1, show_default=True, help="Draw the folds anew so many times.")
@click.option(
    "--magnification",
    type=click.Choice(MAGNIFICATIONS),
    default="40X",
    show_default=True,
    help="Of the images that the model is for.",
)
@click.option(
    "--also",
    multiple=True,
    type=click.Choice(MAGNIFICATIONS),
    help="Train on images of this higher magnification too, shrunk (never tested on). May be repeated.",
)
@click.option(
    "--also-weight", default=0.1, show_default=True, help="Share of the training weight that these images get."
)
@click.option(
    "--balance",
    type=click.Choice(["class", "patient"]),
    default="class",
    show_default=True,
    help="What weighs the same in training: the two classes, or within each also all patients.",
)
@click.option(
    "--threshold-rule",
    type=click.Choice(["balanced_accuracy", "sensitivity", "thesis"]),
    default="balanced_accuracy",
    show_default=True,
    help="How the share of malignant votes that makes a verdict malignant is chosen on out-of-fold predictions: "
    "best balanced accuracy, 95 % sensitivity, or always 0.90 as in the thesis.",
)
@click.option(
    "--grid",
    type=click.Choice(list(GRIDS)),
    default="cover",
    show_default=True,
    help="How images are cut: 225 pixels so that every pixel is read, or 224 in steps of 112 as the thesis's code did.",
)
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same model.")
@click.option("--c", default=1e-5, show_default=True, help="frozen: C of the logistic regression; smaller is smoother.")
@click.option("--epochs", default=20, show_default=True, help="finetune: epochs at the most.")
@click.option(
    "--lr",
    "--learning-rate",
    "learning_rate",
    default=1e-3,
    show_default=True,
    help="finetune: learning rate of the head.",
)
@click.option("--draws", default=15, show_default=True, help="finetune: patches drawn of each image in an epoch.")
@click.option("--batch-size", default=64, show_default=True, help="finetune: patches in one step.")
@click.option("--patience", default=5, show_default=True, help="finetune: epochs without progress before it stops.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 …")
@click.option("--citation", default="", help="What to cite for the images.  [default: known for BreakHis]")
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    help="Folder for computed features.  [default: var/cache/features]",
)
def fit(data: Path, out: Path, *, name: str, device: str, citation: str, cache: Path | None, **options: Any) -> None:
    """Measure and make a model.

    The images are split by patient, models are fitted and measured on the patients that they have not seen, and then
    the model is fitted on all images and written to --out, with its measures, as a bundle that `python -m classifier
    --bundle` and the web application can use.

    \b
    Example:
      python -m trainer fit --data BreaKHis_v1 --out models/mine
    """  # noqa: D301 (click's mark against re-wrapping)
    with _sentences():
        from trainer.fit import fit as make
        from trainer.options import FitOptions

        options["pretrained"] = not options.pop("scratch")
        options["grid"] = GRIDS[options["grid"]]
        fitted = make(
            data,
            out,
            FitOptions(**options),
            name=name,
            citation=citation,
            device=device,
            cache=cache or _default_cache(),
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
@click.option("--out", required=True, type=click.Path(path_type=Path), help="New folder for the images.")
@click.option("--patients", default=6, show_default=True, help="Patients of each class.")
@click.option("--images", default=4, show_default=True, help="Images of each patient.")
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same images.")
def synthetic(out: Path, patients: int, images: int, seed: int) -> None:
    """Draw a data set of synthetic micrographs, to try Patchvote without real ones.

    The folder gets the layout of BreakHis and a file SYNTHETIC.txt. A model that is fitted on it says that it is
    synthetic; its verdicts mean nothing.
    """
    with _sentences():
        from trainer.synthetic import write_tree

        count = write_tree(out, patients=patients, images=images, seed=seed, progress=True)
    click.echo(f"{count} synthetic images of {2 * patients} invented patients in {out}.")


def _default_cache() -> Path:
    return Path(os.environ.get("PATCHVOTE_DATA", "var")) / "cache" / "features"


@contextmanager
def _sentences() -> Iterator[None]:
    """Turn the errors that a person can mend into sentences, one a line, and exit status 1."""
    from pydantic import ValidationError

    try:
        yield
    except ValidationError as error:
        for wrong in error.errors():
            option = "-".join(str(part).replace("_", "-") for part in wrong["loc"])
            click.echo(f"--{option}: {wrong['msg']}.", err=True)
        sys.exit(1)
    except (ValueError, RuntimeError, OSError) as error:
        for line in str(error).splitlines():
            click.echo(f"Error: {line}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main(prog_name="python -m trainer")
