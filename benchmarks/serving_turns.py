"""The turns of the serving benchmark: the platform, the thesis's way, the bare forward pass."""

from __future__ import annotations

import http.client
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch

from benchmarks import processes
from benchmarks.clients import Sent, Uploader, closed_loop, open_loop
from benchmarks.forward import PATCH, Forward, Way
from benchmarks.installation import installation, random_bundle
from benchmarks.thesis_service import make_weights
from benchmarks.watcher import Watcher
from classifier import networks
from classifier.engine import devices
from classifier.engine.fusion import fuse
from testing.paths import ROOT
from testing.stack import Stack

PATCHES = 15
_TURNS = {"thesis": "the thesis's way", "bare": "the bare forward pass"}
BATCHES = (15, 60)
_OK = 200
_BARE_SHARE = 1 / 6
"""The seconds of each bare pass; a turn has several."""


@dataclass(frozen=True)
class Platform:
    """A running installation and its clients."""

    stack: Stack
    uploader: Uploader
    watcher: Watcher

    def turn(self, clients: int, warm_up: float, seconds: float) -> dict[str, Any]:
        """Return images per second in the measured period, and the timings of the images sent in it."""
        began = time.time() + warm_up
        ended = began + seconds
        used: dict[str, float] = {}

        def go_on() -> bool:
            now = time.time()
            if now >= began and not used:
                used.update(self._cpu())
            return now < ended

        sent = closed_loop(self.uploader, self.watcher, clients, go_on)
        after = self._cpu()
        finished = [one.ended.finished for one in sent]
        images = sum(moment >= began for moment in finished)
        return {
            "rate": _rate(finished, began, ended),
            **_times([one for one in sent if one.began >= began]),
            "cpu_ms": {name: 1000 * (after[name] - used.get(name, after[name])) / max(1, images) for name in after},
        }

    def upload_turn(self, queued: int, rate: float, seconds: float) -> dict[str, Any]:
        """Return the timings of uploads at a steady rate, independent of the queue."""
        sent = open_loop(self.uploader, self.watcher, queued, rate, seconds)
        return {"rate": rate, "least_waiting": min(one.waiting for one in sent), **_times(sent)}

    def _cpu(self) -> dict[str, float]:
        running = {name: pid for name, pid in self.stack.processes().items() if pid}
        return {name: processes.cpu_seconds(processes.family(pid)) for name, pid in running.items()}


class Turns:
    """All turns, in rounds."""

    def __init__(
        self, folder: Path, images: Sequence[bytes], network: str, device: str, *, warm_up: float, seconds: float
    ) -> None:
        """Prepare everything that is not timed.

        Args:
            folder: The folder for generated files.
            images: The files that clients send.
            network: A network of the registry.
            device: The device of the networks.
            warm_up: The seconds of each turn of the platform that do not count.
            seconds: The seconds that count.
        """
        self._folder, self._images, self._network, self._device = folder, images, network, device
        self._warm_up, self._seconds = warm_up, seconds
        module = networks.create(network).eval()
        # A format that a worker would not choose is no ceiling, and where the processor lacks it takes minutes.
        chosen = devices.choose(fuse(module, PATCH), torch.device(device)).dtype
        formats = dict.fromkeys(str(dtype).removeprefix("torch.") for dtype in (torch.float32, chosen))
        self._bare = {name: Forward(module, device, Way(name)) for name in formats}

    def measure(self, settings: dict[str, str], clients: Sequence[int], rounds: int, queued: int) -> dict[str, Any]:
        """Take turns in one order, then in the reverse order.

        Returns:
            Under `platform` the turns by number of clients, under `thesis`, `bare` and `uploads` their turns, and the
            `engine` that the platform chose.
        """
        model = random_bundle(self._folder / "bundle", self._network)
        weights = self._folder / "weights.pt"
        make_weights(weights)
        with installation(model, settings) as stack, _thesis(weights, self._device) as port:
            platform = self._platform(stack)
            first = closed_loop(platform.uploader, platform.watcher, 1, iter([True, True, False]).__next__)
            turns: dict[str, Callable[[], Any]] = {
                **{str(number): self._platforms(platform, number) for number in clients},
                "thesis": lambda: self._thesis_rate(port),
                "bare": self._bare_rates,
            }
            found: dict[str, list[Any]] = {name: [] for name in turns}
            for number in range(rounds):
                for name in list(turns) if number % 2 == 0 else reversed(turns):
                    click.echo(f"round {number + 1} of {rounds}: {_TURNS.get(name, f'{name} clients')}", err=True)
                    found[name].append(turns[name]())
            uploads = self._uploads(platform, found[str(max(clients))], queued, rounds) if queued else []
            platform.watcher.close()
        return {
            "engine": first[-1].ended.engine,
            "platform": {number: found[str(number)] for number in clients},
            "thesis": found["thesis"],
            "bare": found["bare"],
            "uploads": uploads,
        }

    def _platform(self, stack: Stack) -> Platform:
        token = stack.client().token
        return Platform(stack, Uploader(stack.url, token, self._images), Watcher(stack))

    def _platforms(self, platform: Platform, clients: int) -> Callable[[], dict[str, Any]]:
        return lambda: platform.turn(clients, self._warm_up, self._seconds)

    def _uploads(
        self, platform: Platform, turns: Sequence[dict[str, Any]], queued: int, rounds: int
    ) -> list[dict[str, Any]]:
        rate = statistics.median(turn["rate"] for turn in turns)
        return [platform.upload_turn(queued, rate, self._seconds) for _ in range(rounds)]

    def _thesis_rate(self, port: int) -> float:
        """Return images per second with one client, because the server handles one request at a time."""
        _ask_thesis(port, self._images[0])
        began, done = time.perf_counter(), 0
        while done == 0 or time.perf_counter() - began < self._seconds:
            _ask_thesis(port, self._images[done % len(self._images)])
            done += 1
        return done / (time.perf_counter() - began)

    def _bare_rates(self) -> dict[str, dict[int, float]]:
        """Return images per second by precision and batch size."""
        seconds = self._seconds * _BARE_SHARE
        return {
            precision: {batch: forward.rate(batch, seconds) / PATCHES for batch in BATCHES}
            for precision, forward in self._bare.items()
        }


@contextmanager
def _thesis(weights: Path, device: str) -> Iterator[int]:
    """Run the thesis's server and yield its port."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.thesis_service", str(weights), device]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield int(server.stdout.readline())
        finally:
            server.terminate()


def _ask_thesis(port: int, image: bytes) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request("POST", "/", image)
        answer = connection.getresponse()
        text = answer.read()
        if answer.status != _OK:
            raise RuntimeError(f"The thesis's way answered {answer.status}: {text[:300]!r}")
    finally:
        connection.close()


def _rate(finished: Sequence[float], began: float, ended: float) -> float:
    """Return images per second from the last end before a period to the last end in it, as ends come in batches."""
    first = max((moment for moment in finished if moment < began), default=began)
    last = max((moment for moment in finished if moment < ended), default=ended)
    through = sum(first < moment <= last for moment in finished)
    return through / (last - first) if through else 0.0


def _times(sent: Sequence[Sent]) -> dict[str, list[float]]:
    """Return the seconds of each image by stage."""
    return {
        "verdict": [one.verdict for one in sent],
        "upload": [one.upload for one in sent],
        "until_queued": [one.ended.queued - one.began for one in sent],
        "until_claimed": [one.ended.started - one.ended.queued for one in sent],
        "until_stored": [one.ended.finished - one.ended.started for one in sent],
    }
