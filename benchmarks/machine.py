"""The conditions of a benchmark: hardware, versions, and the load of the machine."""

from __future__ import annotations

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

QUIET = 0.5
"""The load average above which measurements are unreliable."""

json_option = click.option(
    "--json", "written", type=click.Path(path_type=Path), help="Also write the measurements to this file."
)


def conditions(device: str = "cpu", *, packages: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the current conditions.

    Args:
        device: The device, in PyTorch's notation.
        packages: The packages whose versions matter besides Python's and PyTorch's.
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
    """Format the conditions as lines of text."""
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items() if number)
    use = f"{found['cores']} cores to use, {found['threads']} threads"
    lines = [found["device"], f"{versions}; {use}; load {found['load_at_start']} at the start"]
    if found["load_at_start"] > QUIET:
        lines.append("WARNING: the machine is busy. These measurements are unreliable; repeat them when it is idle.")
    return lines


def write(figures: dict[str, Any], path: Path | None) -> None:
    """Write the measurements as JSON, if a path is given."""
    if path:
        path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
