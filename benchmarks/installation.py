"""A complete installation for measurements: `manage.py up` on an empty data folder, with a model of random weights."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from classifier import bundle, networks
from testing.stack import Stack

_NO_RATE = "1000000/s"


def _settings(_context: click.Context, _option: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    """Parse `NAME=VALUE` settings into a dictionary."""
    pairs = [text.partition("=") for text in given]
    if wrong := [name for name, sign, _ in pairs if not (name and sign)]:
        raise click.BadParameter(f"{', '.join(wrong)}: write NAME=VALUE.")
    return {name: value for name, _, value in pairs}


settings_option: Callable[..., Any] = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    callback=_settings,
    help="An environment variable of docs/operation.md for the installation, such as DATABASE_URL. May be repeated.",
)


def random_bundle(folder: Path, network: str) -> bundle.Bundle:
    """Save a bundle of a network with random weights, which is as fast as a trained one."""
    import torch

    torch.manual_seed(0)
    metadata = bundle.BundleMetadata(
        name=f"random-{network.replace('_', '-')}",
        network=network,
        normalisation=networks.spec(network).normalisation,
        threshold=0.5,
        synthetic=True,
    )
    return bundle.save(folder, networks.create(network).state_dict(), metadata)


@contextmanager
def installation(model: bundle.Bundle, settings: dict[str, str]) -> Iterator[Stack]:
    """Run an installation whose champion is a bundle, on a temporary data folder.

    Args:
        model: The bundle.
        settings: Environment variables; by default, requests are not throttled.
    """
    free = {"PATCHVOTE_RATE_SUBMIT": _NO_RATE, "PATCHVOTE_RATE_READ": _NO_RATE}
    with tempfile.TemporaryDirectory(prefix="patchvote-benchmark-") as folder:
        stack = Stack(Path(folder) / "data", **(free | settings))
        stack.start()
        try:
            stack.manage("register_bundle", str(model.folder), "--champion")
            yield stack
        finally:
            stack.stop()
