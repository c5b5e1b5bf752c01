"""Measures how much of a GPU's speed the network uses, and how much of that remains in the whole pipeline.

First the bare network, by number format, memory layout and batch size, fused as in production and compiled, in patches
per second and relative to the chip's peak. Then `classifier.predictor.Predictor` from decoded images, and from PNG
files that processes decode meanwhile, relative to the bare network's best. On a CPU the benchmark runs with a few
patches, for tests of the benchmark only.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import click

from benchmarks import chips, machine
from benchmarks.images import draw_all, drawings, png

_SMALL = {"batches": (1, 4), "compiled": (4,), "images": 2, "seconds": 0.1, "precisions": ("float32", "bfloat16")}
_USUAL = {
    "batches": (1, 15, 60, 240, 960, 4096),
    "compiled": (240, 960, 4096),
    "images": 4000,
    "seconds": 1.0,
    "precisions": ("float32", "tf32", "bfloat16", "float16"),
}
_COMPILED = ("bfloat16", "float16")
_DIFFERENT = 48
AIM = 0.6


@click.command(help=__doc__)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:1.")
@click.option(
    "--network", default="resnet18", show_default=True, help="A network of the registry; its weights are random."
)
@click.option(
    "--batch",
    "batches",
    multiple=True,
    type=int,
    help="The batch size, in patches. May be repeated.  [default: 1 to 4096]",
)
@click.option(
    "--seconds", type=float, help="The duration of each measurement of the bare network.  [default: 1, on a CPU 0.1]"
)
@click.option("--images", type=int, help="The number of images for the predictor.  [default: 4000, on a CPU 2]")
@click.option("--decoders", type=int, help="The number of decoding processes.  [default: one per core]")
@click.option(
    "--compile/--no-compile", "compiled", default=None, help="Also measure compiled networks.  [default: on a GPU]"
)
@machine.json_option
def main(  # noqa: PLR0917 (click passes by name)
    device: str,
    network: str,
    batches: tuple[int, ...],
    seconds: float | None,
    images: int | None,
    decoders: int | None,
    *,
    compiled: bool | None,
    written: Path | None,
) -> None:
    """Measure the bare network, then the pipeline, and print the results."""
    from trainer.fitting import hardware

    chosen = hardware.choose(device)
    on_gpu = chosen.kind == "cuda"
    plan = dict(_USUAL if on_gpu else _SMALL)
    plan |= {"batches": batches or plan["batches"], "seconds": seconds or plan["seconds"]}
    plan |= {"images": images or plan["images"], "decoders": decoders or len(os.sched_getaffinity(0))}
    if not (on_gpu if compiled is None else compiled):
        plan["compiled"] = ()
    elif batches:
        plan["compiled"] = batches
    figures: dict[str, Any] = machine.conditions(chosen.device, packages=("torchvision", "pillow"))
    for line in machine.opening(figures):
        click.echo(line)
    if not on_gpu:
        click.echo("There is no GPU here: THESE ARE A CPU'S FIGURES, of tiny sizes.")
    figures["network"] = network
    figures["bare"] = _bare(network, chosen.device, plan)
    best = max(row["patches_per_second"] for row in figures["bare"])
    with tempfile.TemporaryDirectory(prefix="patchvote-gpu-") as folder:
        figures["predictor"] = _predictor(Path(folder), network, chosen.device, plan, best)
    machine.write(figures, written)


def _bare(network: str, device: str, plan: dict[str, Any]) -> list[dict[str, Any]]:
    import torch

    from benchmarks.forward import Forward, Way
    from benchmarks.load import flops
    from classifier import networks

    module = networks.create(network)
    each = flops(module)
    chip = chips.find(torch.cuda.get_device_name(device)) if torch.device(device).type == "cuda" else None
    click.echo(f"\n{network}: {each / 1e9:.2f} GFLOP for a patch (a multiplication and an addition are two)")
    click.echo(f"peaks by {chip.source}" if chip else "The peak of this device is not known.")
    click.echo(
        f"{'patches/s':36}" + "".join(f"{batch:>10}" for batch in plan["batches"]) + f"{'TFLOP/s':>10}{'peak':>7}"
    )
    ways = [Way(precision, layout) for precision in plan["precisions"] for layout in (False, True)]
    ways += [Way(precision, fused=True) for precision in plan["precisions"]]
    ways += [Way(precision, compiled=True) for precision in plan["precisions"] if precision in _COMPILED]
    rows = []
    for way in ways:
        batches = [batch for batch in plan["batches"] if not way.compiled or batch in plan["compiled"]]
        rates = {}
        for batch in batches:
            torch.compiler.reset()
            rates[batch] = Forward(module, device, way).rate(batch, plan["seconds"])
        if not rates:
            continue
        best = max(rates.values())
        peak = chip.peaks.get(way.precision) if chip else None
        tflops = best * each / 1e12
        row = {"way": str(way), "rates": rates, "patches_per_second": best, "tflops": tflops}
        rows.append(row | {"of_peak": tflops / peak if peak else None})
        cells = "".join(f"{rates[batch]:>10.1f}" if batch in rates else f"{'':>10}" for batch in plan["batches"])
        share = f"{tflops / peak:>7.0%}" if peak else f"{'-':>7}"
        click.echo(f"{way!s:36}{cells}{tflops:>10.2f}{share}")
    return rows


def _predictor(folder: Path, network: str, device: str, plan: dict[str, Any], best: float) -> dict[str, Any]:
    from benchmarks.installation import random_bundle
    from benchmarks.load import Load
    from classifier.imaging.decode import decode
    from classifier.predictor import Predictor

    predictor = Predictor(random_bundle(folder / "bundle", network), device=device)
    files = [png(pixels) for pixels in draw_all(drawings(min(plan["images"], _DIFFERENT)), plan["decoders"])]
    load = Load(predictor, plan["images"], plan["decoders"])
    ways = {
        "from decoded images": lambda: load.decoded([decode(file).pixels for file in files]),
        f"from PNG, {plan['decoders']} processes": lambda: load.files(files),
    }
    click.echo(
        f"\nthe predictor ({predictor.engine}), {plan['images']} images of 15 patches; the bare best is {best:.1f}"
    )
    found: dict[str, Any] = {"decoding": load.only_decoded(files)}
    click.echo(f"{'decoding alone':28}{found['decoding']:>12.1f} patches/s in {plan['decoders']} processes")
    for name, way in ways.items():
        found[name] = rates = way()
        rates["of_bare"] = rates["patches_per_second"] / best
        idle = f"; the GPU waits {rates['waits']:.0%} of the time" if rates["waits"] is not None else ""
        aim = f" (aim: {AIM:.0%})" if name.startswith("from PNG") else ""
        click.echo(
            f"{name:28}{rates['patches_per_second']:>12.1f} patches/s, "
            f"{rates['of_bare']:.0%} of the bare best{aim}{idle}"
        )
    return {"engine": str(predictor.engine), "bare_best": best, **found}


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.gpu")
