"""Checks that the fused network gives the same votes: `python -m benchmarks.votes --data FOLDER`.

The network as trained (PyTorch's layers, float32) and the fused network (in each number format) read each image in
turn. The benchmark prints the votes and verdicts that differ, and the ratio of the times.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import click

from benchmarks import machine

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from classifier.predictor import Predictor
    from classifier.votes import Prediction

_AT_ONCE = 4


@dataclass
class Way:
    """A way of computing votes.

    Attributes:
        predictor: The network.
        seconds: The total time of all forward passes.
        votes: The number of patch votes that differ from the first way's.
        verdicts: The number of verdicts that differ.
        furthest: The largest difference of a patch's probability.
    """

    predictor: Predictor
    seconds: float = 0
    votes: int = 0
    verdicts: int = 0
    furthest: float = 0

    def read(self, images: list[NDArray[Any]]) -> list[Prediction]:
        """Compute the votes and measure the time."""
        began = time.perf_counter()
        predictions = self.predictor.predict(images)
        self.seconds += time.perf_counter() - began
        return predictions

    def compare(self, first: list[Prediction], mine: list[Prediction]) -> None:
        """Count the differences."""
        for theirs, ours in zip(first, mine, strict=True):
            self.verdicts += theirs.verdict != ours.verdict
            for one, other in zip(theirs.votes, ours.votes, strict=True):
                self.votes += one.vote != other.vote
                self.furthest = max(self.furthest, abs(one.malignant_probability - other.malignant_probability))


@click.command(help=__doc__)
@click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A folder with a manifest.csv, or a BreakHis folder tree.",
)
@click.option("--magnification", default="40X", show_default=True)
@click.option("--bundle", type=click.Path(path_type=Path, exists=True), help="The bundle.  [default: the shipped one]")
@click.option("--most", type=click.IntRange(min=1), help="The maximum number of images.")
@click.option(
    "--device",
    default="cpu",
    show_default=True,
    help="The device of the fused network; the network as trained runs on the CPU.",
)
@click.option(
    "--precision",
    "precisions",
    multiple=True,
    type=click.Choice(["float32", "float16", "bfloat16"]),
    help="The number format. May be repeated.  [default: all that a worker on the device chooses from]",
)
@machine.json_option
def main(  # noqa: PLR0917 (click passes by name)
    data: Path,
    magnification: str,
    bundle: Path | None,
    most: int | None,
    device: str,
    precisions: tuple[str, ...],
    written: Path | None,
) -> None:
    """Compare the ways and print the differences."""
    from classifier.bundle import SHIPPED, Bundle
    from trainer.data.image_cache import decode_pixels
    from trainer.data.records import read_records

    records = [one for one in read_records(data).images if one.whole and one.magnification == magnification]
    if not records:
        raise click.UsageError(f"{data} has no whole images at {magnification}.")
    figures = machine.conditions(device, packages=("timm", "numpy"))
    for line in machine.opening(figures):
        click.echo(line)
    ways = _ways(Bundle.load(bundle or SHIPPED), device, precisions)
    patches = 0
    chosen = records[:most]
    for start in range(0, len(chosen), _AT_ONCE):
        images = [decode_pixels(one) for one in chosen[start : start + _AT_ONCE]]
        predictions = {name: way.read(images) for name, way in ways.items()}
        first = next(iter(predictions.values()))
        patches += sum(len(prediction.votes) for prediction in first)
        for name, way in ways.items():
            way.compare(first, predictions[name])
    click.echo(f"{len(chosen)} images, {patches:,} votes\n")
    plain = next(iter(ways.values()))
    click.echo(f"{'':30}{'ms an image':>12}{'ratio':>8}{'votes':>8}{'verdicts':>10}{'furthest probability':>22}")
    for name, way in ways.items():
        each = 1000 * way.seconds / len(chosen)
        ratio = plain.seconds / way.seconds
        click.echo(f"{name:30}{each:>12.0f}{ratio:>8.2f}{way.votes:>8}{way.verdicts:>10}{way.furthest:>22.4f}")
        figures[name] = {"ms": each, "ratio": ratio} | {
            found: getattr(way, found) for found in ("votes", "verdicts", "furthest")
        }
    machine.write(figures | {"images": len(chosen), "patches": patches}, written)


def _ways(bundle: Any, device: str, precisions: Sequence[Any]) -> dict[str, Way]:
    from classifier.engine import devices
    from classifier.predictor import Predictor

    with _unfused():
        plain = Predictor(bundle, device="cpu", precision="float32")
    usual: list[Any] = [str(dtype).removeprefix("torch.") for dtype in devices.formats(devices.find(device))]
    return {"as trained, float32": Way(plain)} | {
        f"as it serves, {precision}": Way(Predictor(bundle, device=device, precision=precision))
        for precision in precisions or usual
    }


@contextmanager
def _unfused() -> Iterator[None]:
    with mock.patch("classifier.predictor.fuse", lambda module, _side: module):
        yield


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.votes")
