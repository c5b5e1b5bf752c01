"""Measures how long a training run takes in an installation, and how much it delays cases sent meanwhile.

A complete installation starts on an empty data folder. Cases are sent one after the other, first without other work,
then while a run with default options (a head on frozen features) trains on the data set; features are computed, not
read from a cache. The benchmark prints the run's duration and the ratio of the waiting times for a verdict.
"""

from __future__ import annotations

import io
import os
import statistics
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from testing.images import encode, noise
from testing.stack import Client, Stack

POLL_SECONDS = 0.05


@click.command(help=__doc__)
@click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A folder with a manifest.csv, or a BreakHis folder tree.",
)
@click.option("--cases", default=12, show_default=True, help="The number of cases sent before the run, one image each.")
def main(data: Path, cases: int) -> None:
    """Measure a training run and the delay of cases, and print the results."""
    with tempfile.TemporaryDirectory() as folder:
        stack = Stack(Path(folder) / "data")
        stack.start()
        try:
            measure(stack, data, cases)
        finally:
            stack.stop()


def measure(stack: Stack, data: Path, cases: int) -> None:
    """Send cases without a training run, then during one."""
    client = stack.client()
    archive = pack(data)
    wait_for_verdict(client, 0)  # the first one warms up
    alone = [wait_for_verdict(client, 1 + number) for number in range(cases)]
    fields = {"name": "benchmark", "source": "archive"}
    data_set = finished(client, client.post("data-sets/", fields, archive=("data.zip", archive)), lambda: None)
    beside: list[float] = []
    run = client.post_json("training-runs/", {"data_set": data_set["id"], "name": "benchmark"})
    began = time.monotonic()
    run = finished(client, run, lambda: beside.append(wait_for_verdict(client, 1000 + len(beside))))
    seconds = time.monotonic() - began
    print(
        f"{os.cpu_count()} cores; {data_set['images']} images in the data set; estimated {run['estimated_seconds']} s"
    )
    print(f"training run, frozen features, from queued to succeeded: {seconds:.0f} s")
    print(f"wait for a verdict alone:         {described(alone)}")
    print(f"wait for a verdict beside it:     {described(beside)}")
    print(f"ratio of the medians: {statistics.median(beside) / statistics.median(alone):.2f}")


def pack(folder: Path) -> bytes:
    """Return a zip of a folder."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            archive.write(path, path.relative_to(folder))
    return buffer.getvalue()


def wait_for_verdict(client: Client, seed: int) -> float:
    """Return the seconds from sending a new image of 700x460 to its verdict."""
    image = encode(noise(seed=seed))
    began = time.monotonic()
    case = client.submit(image)
    while client.get(case["url"]).json()["state"] in {"queued", "running"}:
        time.sleep(POLL_SECONDS)
    return time.monotonic() - began


def finished(client: Client, job: Any, meanwhile: Callable[[], object]) -> Any:
    """Return a job after its end; `meanwhile` is called repeatedly until then."""
    while job["state"] in {"queued", "running"}:
        meanwhile()
        time.sleep(1)
        job = client.get(job["url"]).json()
    if job["state"] != "succeeded":
        raise SystemExit(f"It {job['state']}: {job['error']}")
    return job


def described(seconds: list[float]) -> str:
    """Format the median, the maximum and the position of the maximum."""
    worst = max(seconds)
    return (
        f"median {statistics.median(seconds):.2f} s, worst {worst:.2f} s "
        f"(number {seconds.index(worst) + 1} of {len(seconds)})"
    )


if __name__ == "__main__":
    main()
