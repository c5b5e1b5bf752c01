"""What every benchmark says before it measures: on what, with which versions, and whether the machine is quiet."""

from __future__ import annotations

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

QUIET = 0.5
"""Load of the last minute above which figures mean little."""

json_option = click.option(
    "--json", "written", type=click.Path(path_type=Path), help="Write the figures to this file, too."
)


def conditions(device: str = "cpu", *, packages: tuple[str, ...] = ()) -> dict[str, Any]:
    """The machine as it is now.

    Args:
        device: What computes, in PyTorch's notation.
        packages: Whose versions matter beside Python's and PyTorch's.
    """
    import torch

    from trainer.fitting import hardware

    cuda = torch.device(device).type == "cuda"
    return {
        "device": hardware.choose(device, "float32").describe(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "load_at_start": round(os.getloadavg()[0], 2),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", *packages)},
            "cuda": torch.version.cuda if cuda else None,
            "cudnn": torch.backends.cudnn.version() if cuda else None,
        },
    }


def opening(found: dict[str, Any]) -> list[str]:
    """The conditions as lines of text."""
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items() if number)
    use = f"{found['cores']} cores to use, {found['threads']} threads"
    lines = [found["device"], f"{versions}; {use}; load {found['load_at_start']} at the start"]
    if found["load_at_start"] > QUIET:
        lines.append("WARNING: the machine is busy. These figures mean little; measure again when it is quiet.")
    return lines


def write(figures: dict[str, Any], path: Path | None) -> None:
    """Write the figures as JSON where that was asked for."""
    if path:
        path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
