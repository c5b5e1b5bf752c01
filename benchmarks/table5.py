"""The thesis's Table 5: four networks, four folds, 20 epochs, 1,995 images."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.images import drawings, write_data_set
from benchmarks.ways import OurWay
from trainer.experiments.study import plan, study
from trainer.fitting.hardware import Hardware
from trainer.fitting.patch_sampler import PatchSampler
from trainer.options import THESIS
from trainer.report import thesis

_HELD_OUT = 1 / 5
"""The share of a fold's training images that validate the training."""


def run(
    folder: Path, networks: Sequence[str], hardware: Hardware, *, batch_size: int, workers: int
) -> dict[str, float]:
    """Run the study with the thesis's own options on synthetic tissue.

    Args:
        folder: A new folder for the images and the study.
        networks: Networks of the registry.
        hardware: The device and precision.
        batch_size: The number of patches per step.
        workers: The number of processes that draw the images, which is not timed.

    Returns:
        Seconds of all folds by network, and under `total` those of the whole study, with reading and decoding.
    """
    write_data_set(folder / "tissue", drawings(thesis.IMAGES), workers)
    planned = plan(networks, THESIS.replace(batch_size=batch_size), mode="scratch")
    started = time.perf_counter()
    done = study(folder / "tissue", folder / "study", planned, hardware, cache=folder / "cache", progress=True)
    total = time.perf_counter() - started
    seconds = {one.options.network: done.run.total(one.name) for one in planned}
    return {**seconds, "total": total}


def extrapolate(
    sampler: PatchSampler, labels: NDArray[np.int64], networks: Sequence[str], hardware: Hardware, *, batch_size: int
) -> dict[str, float]:
    """Estimate the duration of `run` from one epoch of each network, including the scoring of validation images.

    Reading the images and scoring the test images of each fold are left out, about one percent.

    Returns:
        The seconds by network, and their sum under `total`.
    """
    seconds = {}
    patches = THESIS.draws * round(thesis.IMAGES * (1 - 1 / THESIS.folds) * (1 - _HELD_OUT))
    for network in networks:
        options = THESIS.replace(network=network, batch_size=batch_size)
        way = OurWay(sampler, labels, options, hardware, held_out=max(2, round(len(labels) * _HELD_OUT)))
        seconds[network] = THESIS.folds * THESIS.epochs * patches / way.turn().rate
    return {**seconds, "total": sum(seconds.values())}
