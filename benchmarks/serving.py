"""Measures how fast images become verdicts, next to the thesis's way and the bare network, in one run.

A complete installation serves a ResNet18 with random weights. Each client sends a PNG image of 700x460 and, when its
verdict is in the database, the next one. The thesis's way is a web server that handles one request at a time: it loads
the weights, writes 15 patches to PNG files and reads them back through a DataLoader with four workers, in float32. The
bare network is the upper bound: its forward pass over patches on the device. All of them take turns, so that other load
on the machine affects all.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import click

from benchmarks import machine
from benchmarks.images import draw_all, drawings, png
from benchmarks.installation import settings_option
from benchmarks.serving_report import print_report
from benchmarks.serving_turns import Turns

THESIS_NETWORK = "resnet18"


@click.command(help=__doc__)
@click.option(
    "--clients",
    multiple=True,
    type=int,
    default=(1, 8, 64),
    help="The number of clients. May be repeated.  [default: 1, 8, 64]",
)
@click.option("--seconds", default=30.0, show_default=True, help="The measured seconds of each turn.")
@click.option("--warm-up", default=8.0, show_default=True, help="The warm-up seconds in each turn of the platform.")
@click.option("--rounds", default=3, show_default=True, help="The number of turns of each way, whose median counts.")
@click.option("--images", default=24, show_default=True, help="The number of different images, drawn beforehand.")
@click.option(
    "--queued",
    default=120,
    show_default=True,
    help="The number of waiting images while uploads are timed; 0 to skip uploads.",
)
@click.option(
    "--network", default="resnet18", show_default=True, help="The network of the platform and of the bare pass."
)
@click.option("--device", default="auto", show_default=True, help="The device of all ways: auto, cpu, cuda or cuda:1.")
@settings_option
@machine.json_option
def main(  # noqa: PLR0917 (click passes by name)
    clients: tuple[int, ...],
    seconds: float,
    warm_up: float,
    rounds: int,
    images: int,
    queued: int,
    network: str,
    device: str,
    settings: dict[str, str],
    written: Path | None,
) -> None:
    """Measure all ways in turns and print the results."""
    from trainer.fitting import hardware

    device = hardware.choose(device).device
    figures: dict[str, Any] = machine.conditions(device, packages=("torchvision", "django", "pillow"))
    for line in machine.opening(figures):
        click.echo(line)
    files = [png(pixels) for pixels in draw_all(drawings(images), len(os.sched_getaffinity(0)))]
    figures |= {"network": network, "seconds": seconds, "rounds": rounds, "settings": sorted(settings)}
    figures["kilobytes"] = sum(map(len, files)) / len(files) / 1000
    click.echo(f"{images} synthetic images of 700x460, PNG, {figures['kilobytes']:.0f} kB in the mean; {network}")
    with tempfile.TemporaryDirectory(prefix="patchvote-serving-") as folder:
        turns = Turns(Path(folder), files, network, device, warm_up=warm_up, seconds=seconds)
        figures |= turns.measure(settings | {"PATCHVOTE_DEVICE": device}, clients, rounds, queued)
    print_report(figures)
    if network != THESIS_NETWORK:
        click.echo(f"The thesis's way used a {THESIS_NETWORK}: beside {network} its ratio says nothing.")
    machine.write(figures, written)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.serving")
