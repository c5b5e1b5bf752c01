"""Measures the speed of our training and of the thesis's way in one run: `python -m benchmarks.training --help`.

The thesis's way: 15 patch files of each image, `ImageFolder`, `DataLoader`, float32. Ours: `trainer.fitting.finetune`
as a study runs it. The ways take turns, so that other load on the machine affects all of them.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchmarks.images import draw_all, drawings, write_patch_files
from benchmarks.machine import conditions, json_option, opening, write
from trainer.data.records import CLASSES

if TYPE_CHECKING:  # processes that only draw need no PyTorch
    from benchmarks.ways import Way
    from trainer.fitting.hardware import Hardware, Precision

_NETWORKS = ("alexnet", "resnet18", "shufflenet_v2", "squeezenet")
_IMAGES = {"cpu": 16, "cuda": 400}
_PLAIN, _AUGMENTED = "ours", "ours, augmented"


@click.command()
@click.option(
    "--network",
    "networks",
    multiple=True,
    default=_NETWORKS,
    help="A network of the thesis. May be repeated.  [default: all four]",
)
@click.option(
    "--images", type=click.IntRange(min=4), help="The number of images per epoch.  [default: 16, on a GPU 400]"
)
@click.option(
    "--batch-size",
    default=64,
    show_default=True,
    help="The batch size of both ways; the thesis does not state its own.",
)
@click.option(
    "--rounds", default=3, show_default=True, help="The number of turns of each way, whose median counts; 0 for none."
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:1.")
@click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "bfloat16"]),
    default="auto",
    show_default=True,
    help="The number format of our way; the thesis's way is always float32.",
)
@click.option("--compile", "compiled", is_flag=True, help="Compile the networks of our way.")
@click.option(
    "--workers", type=int, help="The number of processes that load the thesis's files.  [default: one per core]"
)
@click.option(
    "--study", "with_study", is_flag=True, help="Also run the study of the thesis's Table 5; on a CPU, extrapolate it."
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    help="New folder for the generated files.  [default: a temporary folder]",
)
@json_option
def main(  # noqa: PLR0917 (click passes by name)
    networks: tuple[str, ...],
    images: int | None,
    batch_size: int,
    rounds: int,
    device: str,
    precision: Precision,
    compiled: bool,
    workers: int | None,
    with_study: bool,
    folder: Path | None,
    written: Path | None,
) -> None:
    """Measure the speed of training in comparison with the thesis's way."""
    from classifier.networks import NETWORKS
    from trainer.fitting import hardware

    if unknown := set(networks) - NETWORKS.keys():
        raise click.BadParameter(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(NETWORKS)}.")
    machine = hardware.choose(device, precision, compiled=compiled)
    count, workers = images or _IMAGES.get(machine.kind, 16), workers or len(os.sched_getaffinity(0))
    figures = _conditions(machine, images=count, batch_size=batch_size, workers=workers)
    for line in _opening(figures):
        click.echo(line)
    with tempfile.TemporaryDirectory(prefix="patchvote-training-") as temporary:
        place = folder or Path(temporary)
        if place.exists() and any(place.iterdir()):
            raise click.UsageError(f"{place} is not empty. Name a new folder.")
        figures["training"] = _compare(place, networks, machine, figures, rounds) if rounds else []
        if with_study:
            figures["study"] = _study(place, networks, machine, figures)
    write(figures, written)


def _conditions(machine: Hardware, *, images: int, batch_size: int, workers: int) -> dict[str, Any]:
    return {
        **conditions(machine.device, packages=("torchvision", "numpy", "pillow")),
        "precision": machine.precision,
        "compiled": machine.compiled,
        "images": images,
        "batch_size": batch_size,
        "workers": workers,
    }


def _opening(figures: dict[str, Any]) -> list[str]:
    ours = f"ours in {figures['precision']}{', compiled' if figures['compiled'] else ''}"
    images = f"{figures['images']} synthetic images, 15 patches of each in an epoch"
    return [*opening(figures), f"{ours}; {images}, batches of {figures['batch_size']}"]


def _compare(
    place: Path, networks: Sequence[str], machine: Hardware, figures: dict[str, Any], rounds: int
) -> list[dict[str, Any]]:
    from benchmarks.ways import OurWay, ThesisWay
    from trainer.fitting.patch_sampler import PatchSampler
    from trainer.options import THESIS, FitOptions

    wanted = drawings(figures["images"])
    pixels = draw_all(wanted, figures["workers"])
    write_patch_files(place / "patches", wanted, pixels, figures["workers"])
    sampler = PatchSampler(pixels, THESIS.grid, machine.device)
    labels = _labels(wanted)
    usual = FitOptions()
    click.echo(f"\n{'patches per second':20}{'thesis':>10}{_PLAIN:>20}{_AUGMENTED:>20}")
    compared = []
    for network in networks:
        options = THESIS.replace(network=network, batch_size=figures["batch_size"])
        augmented = options.replace(anywhere=usual.anywhere, turn=usual.turn, stain=usual.stain)
        ours = {
            _PLAIN: OurWay(sampler, labels, options, machine),
            _AUGMENTED: OurWay(sampler, labels, augmented, machine),
        }
        thesis = ThesisWay(
            place / "patches",
            network,
            device=machine.device,
            batch_size=figures["batch_size"],
            workers=figures["workers"],
        )
        result = {"network": network, **take_turns({"thesis": thesis, **ours}, rounds)}
        result["parts"] = {name: way.parts() for name, way in ours.items()}
        compared.append(result)
        click.echo(_row(result))
    click.echo("\nWhere our time goes:")
    for result in compared:
        for name, parts in result["parts"].items():
            click.echo(f"{result['network']:16}{name:18}{_shares(parts)}")
    return compared


def take_turns(ways: dict[str, Way], rounds: int) -> dict[str, Any]:
    """Time each way once per round, in alternating order.

    Args:
        ways: The ways by name, the thesis's first.
        rounds: The number of rounds.

    Returns:
        Under `rates` the patches per second of each turn of each way, under `median` the median of each way, under
        `ratio` the median over the rounds of each other way's rate beside the thesis's.
    """
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        for name in list(ways) if number % 2 == 0 else reversed(ways):
            rates[name].append(ways[name].turn().rate)
    first, *others = ways
    return {
        "rates": rates,
        "median": {name: statistics.median(values) for name, values in rates.items()},
        "ratio": {
            name: statistics.median(ours / theirs for ours, theirs in zip(rates[name], rates[first], strict=True))
            for name in others
        },
    }


def _labels(wanted: Sequence[Any]) -> Any:
    import numpy as np

    return np.array([CLASSES.index(drawing.label) for drawing in wanted])


def _row(result: dict[str, Any]) -> str:
    median, ratio = result["median"], result["ratio"]
    cells = "".join(f"{median[name]:>12.1f} ({ratio[name]:4.1f}x)" for name in (_PLAIN, _AUGMENTED))
    return f"{result['network']:20}{median['thesis']:>10.1f}{cells}"


def _shares(parts: dict[str, float]) -> str:
    total = sum(parts.values())
    return ", ".join(f"{name} {seconds / total:.0%}" for name, seconds in parts.items())


def _study(place: Path, networks: Sequence[str], machine: Hardware, figures: dict[str, Any]) -> dict[str, Any]:
    from benchmarks import table5
    from trainer.fitting.patch_sampler import PatchSampler
    from trainer.options import THESIS
    from trainer.report.thesis import IMAGES, SECONDS

    measured = machine.kind == "cuda"
    batch_size = figures["batch_size"]
    if measured:
        seconds = table5.run(place, networks, machine, batch_size=batch_size, workers=figures["workers"])
    else:
        wanted = drawings(figures["images"])
        sampler = PatchSampler(draw_all(wanted, figures["workers"]), THESIS.grid, machine.device)
        seconds = table5.extrapolate(sampler, _labels(wanted), networks, machine, batch_size=batch_size)
    how = "measured" if measured else "EXTRAPOLATED from one epoch of each, not run"
    click.echo(f"\nTable 5, {len(networks)} networks, four folds, 20 epochs, {IMAGES:,} images ({how}), in seconds:")
    theirs = {**SECONDS, "total": sum(SECONDS[name] for name in networks if name in SECONDS)}
    for name, value in seconds.items():
        click.echo(f"{name:20}{value:>12,.0f}   thesis {theirs.get(name, 0):>8,}")
    return {"measured": measured, "seconds": seconds, "thesis": theirs}


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.training")
