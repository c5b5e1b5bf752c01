"""A training run whose worker and child process are killed again and again, and the same run without a fault.

Both must give equal numbers and equal weights.
"""

from __future__ import annotations

import contextlib
import io
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

from classifier.bundle import WEIGHTS_FILE
from testing.faults.installation import Installation
from testing.images import encode, noise
from testing.processes import kill

_MOST = 0.8
"""The share of the undisturbed training time that the kills may take away at most: the run must not end before."""
_STARTING_SHARE = 0.25
"""The share of kills that hit a child process while it starts."""


@contextmanager
def training_worker(on: Installation) -> Iterator[None]:
    """Run the training worker of an installation."""
    on.supervisor.startProcess("training")
    try:
        yield
    finally:
        on.supervisor.stopProcess("training")


class KilledRun:
    """Two runs with equal options, one of which is killed.

    Attributes:
        undisturbed: The run without a fault, as the API shows it.
        disturbed: The run that was killed.
        kills: The number of kills.
        left: Child processes that are still alive at the end.
    """

    def __init__(self, on: Installation, *, kills: int, seed: int) -> None:
        """Run both.

        Args:
            on: An installation whose training worker runs.
            kills: The number of kills.
            seed: Decides moments and victims.
        """
        self._on = on
        self._client = on.connected()
        self._chance = Random(seed)
        self._options = {
            "network": "squeezenet", "mode": "scratch", "folds": 2, "epochs": kills, "patience": kills, "draws": 3,
            "batch_size": 16, "learning_rate": 1e-4,
        }  # fmt: skip
        self._data_set = self._ended(self._upload())
        self._starting, self._training = 0.0, 0.0
        self.undisturbed = self._run_undisturbed()
        self.kills = 0
        self.disturbed = self._run_disturbed(kills)
        self.left = self._children(self.disturbed)

    def differences(self) -> list[str]:
        """Return the differences between the results of the two runs, as sentences."""
        one, other = self.undisturbed, self.disturbed
        found = [f"{name} differ" for name in ("metrics", "epochs") if one[name] != other[name]]
        if [_numbers(fold) for fold in one["folds"]] != [_numbers(fold) for fold in other["folds"]]:
            found.append("folds differ")
        versions = [model for model in self._models() if model["name"] == other["name"]]
        if [version["id"] for version in versions] != [other["model"]["id"]]:
            found.append(f"{len(versions)} model versions were registered")
        if self._weights(one) != self._weights(other):
            found.append("weights differ")
        return found

    def _upload(self) -> Any:
        """Send a data set of eight patients with two small images each."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            rows = ["path,label,patient,magnification"]
            for number in range(16):
                label = ("benign", "malignant")[number % 2]
                archive.writestr(f"{number}.png", encode(noise(240, 230, seed=9000 + number)))
                rows.append(f"{number}.png,{label},{label}-{number // 4},40X")
            archive.writestr("manifest.csv", "\n".join(rows))
        fields = {"name": "killed", "source": "archive"}
        return self._client.post("data-sets/", fields, archive=("data.zip", buffer.getvalue()))

    def _start(self, name: str) -> Any:
        """Start a run; equal bundles of one name are one model version, so each run has a name of its own."""
        fields = {"data_set": self._data_set["id"], "name": name, "options": self._options}
        return self._client.post_json("training-runs/", fields)

    def _run_undisturbed(self) -> Any:
        """Measure how long a child process starts and how long it trains."""
        run = self._start("undisturbed")
        self._on.wait_for("a child process", lambda: self._children(run), 180)
        began = time.monotonic()
        self._on.wait_for("an epoch", lambda: self._now(run)["epochs"], 120)
        first = time.monotonic()
        ended = self._ended(run)
        self._starting, self._training = first - began, time.monotonic() - first
        return ended

    def _run_disturbed(self, kills: int) -> Any:
        run = self._start("disturbed")
        while self.kills < kills and not self._over(run):
            self._on.wait_for("a child process", lambda: self._children(run) or self._over(run), 180)
            time.sleep(self._moment(kills))
            if self._over(run):
                break
            self.kills += 1
            self._kill(run, self._chance.choice(["worker", "child", "both"]))
        return self._ended(run)

    def _moment(self, kills: int) -> float:
        """Return how many seconds after its start a child process is killed."""
        if self._chance.random() < _STARTING_SHARE:
            return self._chance.uniform(0, self._starting)
        return self._starting + self._chance.uniform(0, _MOST * self._training / kills)

    def _kill(self, run: Any, victim: str) -> None:
        if victim != "child":
            kill(self._on.processes()["training"])
        if victim != "worker":
            for pid in self._children(run):
                kill(pid)

    def _children(self, run: Any) -> list[int]:
        """Return the processes that work in the folder of a run."""
        folder = self._on.folder / "training" / "runs" / run["id"]
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and f"trainer.worker\0{folder}".encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
        return found

    def _now(self, job: Any) -> Any:
        return self._client.get(job["url"]).json()

    def _over(self, job: Any) -> bool:
        return self._now(job)["state"] not in {"queued", "running"}

    def _ended(self, job: Any, seconds: float = 600) -> Any:
        self._on.wait_for(f"{job['url']} to end", lambda: self._over(job), seconds)
        ended = self._now(job)
        assert ended["state"] == "succeeded", ended["error"]
        return ended

    def _models(self) -> Any:
        return self._client.get("models/").json()["results"]

    def _weights(self, run: Any) -> bytes:
        packed = self._client.get(f"models/{run['model']['id']}/bundle/").content
        with zipfile.ZipFile(io.BytesIO(packed)) as bundle:
            return bundle.read(WEIGHTS_FILE)


def _numbers(fold: Any) -> Any:
    return {name: value for name, value in fold.items() if name != "seconds"}
