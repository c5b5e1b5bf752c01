"""Measures whether the memory of the inference worker and of the web server grows with use.

A complete installation serves a small network. Clients send small images, each one different; after every tenth they
request the case, its image in both sizes and, as a signed-in user, the page of the case and the case list. Resident
memory (RSS, which counts shared pages in each process) and private memory (USS) are read after one image and after
thousands.
"""

from __future__ import annotations

import re
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import click
import requests

from benchmarks import machine, processes
from benchmarks.clients import Sent, Uploader, closed_loop
from benchmarks.installation import installation, random_bundle, settings_option
from benchmarks.watcher import Watcher
from testing.images import encode, noise
from testing.stack import Client, Stack

_POINTS = (1, 100, 1000, 2500, 5000, 10_000, 20_000)
_WATCHED = ("web", "inference", "sweep", "training", "redis")
_SIDE = 225
"""The side of a patch, and so of the smallest image, in pixels."""
_LOOKED_AT = 10
"""One of this number of images is viewed."""


@click.command(help=__doc__)
@click.option("--images", default=5000, show_default=True, help="The total number of images.")
@click.option("--clients", default=8, show_default=True, help="The number of concurrent clients.")
@click.option(
    "--network", default="squeezenet", show_default=True, help="A network of the registry; its weights are random."
)
@click.option("--width", default=_SIDE, show_default=True, help="The width of an image, in pixels.")
@click.option("--height", default=_SIDE, show_default=True, help="The height of an image, in pixels.")
@settings_option
@machine.json_option
def main(  # noqa: PLR0917 (click passes by name)
    images: int,
    clients: int,
    network: str,
    width: int,
    height: int,
    settings: dict[str, str],
    written: Path | None,
) -> None:
    """Measure memory and print the results."""
    figures: dict[str, Any] = machine.conditions(packages=("django", "celery", "gunicorn", "pillow"))
    for line in machine.opening(figures):
        click.echo(line)
    files = [encode(noise(width, height, seed=seed)) for seed in range(50)]
    click.echo(f"{images:,} images of {width}x{height}, PNG, {len(files[0]) / 1000:.0f} kB; {network}")
    figures |= {"images": images, "network": network, "width": width, "height": height}
    with tempfile.TemporaryDirectory(prefix="patchvote-memory-") as folder:
        model = random_bundle(Path(folder) / "bundle", network)
        with installation(model, settings) as stack:
            figures["points"] = _measure(stack, files, images, clients)
    _print_growth(figures["points"])
    machine.write(figures, written)


def _measure(stack: Stack, files: list[bytes], images: int, clients: int) -> dict[int, dict[str, dict[str, float]]]:
    """Return memory in MB by number of images, process and kind."""
    client = stack.client()
    uploader, watcher, person = Uploader(stack.url, client.token, files), Watcher(stack), _Person(stack)
    click.echo(f"\n{'images':>8}" + "".join(f"{name + ' RSS':>15}{'USS':>9}" for name in _WATCHED))
    found: dict[int, dict[str, dict[str, float]]] = {}
    done = 0
    for point in sorted({point for point in _POINTS if point < images} | {images}):
        while done < point:
            count = min(point - done, _LOOKED_AT * clients)
            sent = closed_loop(uploader, watcher, clients, partial(next, iter([True] * count), False))
            done += len(sent)
            for one in sent[::_LOOKED_AT]:
                _look(client, person, one)
        found[point] = memory = _memory(stack)
        cells = "".join(f"{memory[name]['rss']:>15.1f}{memory[name]['uss']:>9.1f}" for name in _WATCHED)
        click.echo(f"{point:>8,}{cells}")
    watcher.close()
    return found


class _Person:
    """A user who is signed in to the pages."""

    def __init__(self, stack: Stack) -> None:
        self._url, self._session = stack.url, requests.Session()
        address = f"{self._url}/account/sign-in/"
        form = self._session.get(address, timeout=30).text
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', form)
        assert token
        fields = {"csrfmiddlewaretoken": token[1], "username": "admin", "password": stack.admin_password}
        self._session.post(address, fields, headers={"Referer": address}, timeout=30).raise_for_status()
        self.get("/cases/")

    def get(self, path: str) -> None:
        answer = self._session.get(f"{self._url}{path}", timeout=30, allow_redirects=False)
        if answer.status_code != requests.codes.ok:
            raise RuntimeError(f"{path} answered {answer.status_code}.")


def _look(client: Client, person: _Person, sent: Sent) -> None:
    """Request what users request of a case."""
    case = client.get(f"cases/{sent.case}/").json()
    for image in case["images"]:
        for size in ("thumbnail", "full"):
            client.get(f"{image['url']}?size={size}").raise_for_status()
    person.get(f"/cases/{sent.case}/")
    person.get("/cases/")


def _memory(stack: Stack) -> dict[str, dict[str, float]]:
    families = {name: processes.family(pid) for name, pid in stack.processes().items() if pid}
    nothing: list[int] = []
    return {
        name: {
            "rss": processes.resident(families.get(name, nothing)),
            "uss": processes.unique(families.get(name, nothing)),
        }
        for name in _WATCHED
    }


def _print_growth(points: dict[int, dict[str, dict[str, float]]]) -> None:
    first, last = min(points), max(points)
    click.echo(f"\ngrowth of resident memory from {first:,} to {last:,} images (the web server: all its processes):")
    for name in _WATCHED:
        before, after = points[first][name]["rss"], points[last][name]["rss"]
        ratio = f"{after / before:.2f} times" if before else "not running"
        click.echo(f"  {name:10} {after - before:+8.1f} MB, {ratio}")


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.memory")
