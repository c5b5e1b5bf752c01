"""`python -m classifier`: read images on the command line."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from classifier.bundle import INTENDED_USE, SHIPPED, Bundle, BundleError, unpack
from classifier.imaging.decode import Decoded, DecodeError, Limits, decode

IMAGES_AT_ONCE = 8
"""Images that are decoded and in memory at the same time."""


@click.command()
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="IMAGE…")
@click.option(
    "--bundle",
    "bundle_path",
    type=click.Path(path_type=Path),
    default=SHIPPED,
    help="The model to use, as a folder or a zip.  [default: the model that comes with Patchvote]",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list with one object per image, in order.")
@click.option("--device", default="auto", show_default=True, help="auto (a GPU if there is one), cpu, cuda or cuda:1.")
@click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "float16", "bfloat16"]),
    default="float32",
    show_default=True,
    help="auto measures which number format is fast and still exact; this pays for many images.",
)
def main(images: tuple[Path, ...], bundle_path: Path, as_json: bool, device: str, precision: str) -> None:
    """Cut each IMAGE into overlapping patches, let them vote, and print the verdict and the votes.

    Exit status: 0 if all images were read, 1 if at least one was not (its error says why), 2 if the model or the
    device cannot be used.

    Research use only, not a diagnosis.
    """
    from classifier.engine.devices import DeviceError
    from classifier.predictor import Predictor

    try:
        with _open_bundle(bundle_path) as bundle:
            predictor = Predictor(bundle, device=device, precision=precision)  # type: ignore[arg-type]
    except (BundleError, DeviceError, ValueError, RuntimeError) as error:
        raise click.UsageError(str(error)) from error

    results: list[dict[str, Any]] = []
    show: Callable[[dict[str, Any]], None] = results.append if as_json else _print_text
    failed = False
    for start in range(0, len(images), IMAGES_AT_ONCE):
        for result in _analyse(predictor, images[start : start + IMAGES_AT_ONCE]):
            failed = failed or result["error"] is not None
            show(result)
    if as_json:
        click.echo(json.dumps(results, indent=2))
    else:
        click.echo(INTENDED_USE)
    sys.exit(1 if failed else 0)


@contextmanager
def _open_bundle(path: Path) -> Iterator[Bundle]:
    """Yield a bundle from a folder, or from a zip that stays unpacked while the network is loaded."""
    if not path.is_file():
        yield Bundle.load(path)
        return
    with tempfile.TemporaryDirectory(prefix="bundle-") as folder:
        yield unpack(path, Path(folder) / path.stem)


def _analyse(predictor: Any, paths: tuple[Path, ...]) -> list[dict[str, Any]]:
    limits = Limits(min_side=predictor.bundle.metadata.grid.size)
    decoded = [_read(path, limits) for path in paths]
    readable = [item for item in decoded if isinstance(item, Decoded)]
    predictions = iter(predictor.predict([item.pixels for item in readable]))
    metadata = predictor.bundle.metadata
    results = []
    for path, item in zip(paths, decoded, strict=True):
        result: dict[str, Any] = {
            "file": str(path),
            "width": None,
            "height": None,
            "verdict": None,
            "malignant_share": None,
            "threshold": metadata.threshold,
            "malignant_probability": None,
            "model": {"name": metadata.name, "sha256": predictor.bundle.sha256},
            "votes": [],
            "error": None,
        }
        if isinstance(item, DecodeError):
            result["error"] = {"code": item.code, "message": item.message}
        else:
            result |= {"width": item.width, "height": item.height} | next(predictions).as_dict()
        results.append(result)
    return results


def _read(path: Path, limits: Limits) -> Decoded | DecodeError:
    try:
        return decode(path, limits)
    except DecodeError as error:
        return error
    except OSError as error:
        return DecodeError("unreadable", "The file cannot be read: %(why)s.", why=error.strerror)


def _print_text(result: dict[str, Any]) -> None:
    if result["error"]:
        click.echo(f"{result['file']}: {result['error']['message']} [{result['error']['code']}]\n", err=True)
        return
    votes = result["votes"]
    malignant = sum(vote["vote"] == "malignant" for vote in votes)
    click.echo(
        f"{result['file']}: {result['verdict']}\n"
        f"  {malignant} of {len(votes)} patches vote malignant: share {result['malignant_share']:.3f}, "
        f"threshold {result['threshold']:.3f}, probability {result['malignant_probability']:.3f}"
    )
    columns = max(vote["column"] for vote in votes) + 1
    for start in range(0, len(votes), columns):
        row = votes[start : start + columns]
        click.echo(
            "  "
            + "  ".join(f"{'M' if v['vote'] == 'malignant' else 'b'} {v['malignant_probability']:.2f}" for v in row)
        )
    click.echo()


if __name__ == "__main__":
    main(prog_name="python -m classifier")
