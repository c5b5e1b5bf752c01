"""Estimate the duration of a training run before it starts. No PyTorch here, because the web server calls this.

The work is counted in multiply-adds of the network, weighted by the efficiency of the network on common hardware, and
divided by the rate of the machine, which is learnt from a finished run if there is one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from trainer.options import FitOptions
from trainer.utils.progress import Stage


@dataclass(frozen=True)
class NetworkCost:
    """The computing cost of a network.

    Attributes:
        multiply_adds: The multiply-adds of one forward pass of one patch of 225x225 pixels, counted layer by layer.
        efficiency: The multiply-adds per second in a forward pass, relative to those of ResNet-18; depthwise
            convolutions are slow.
        training_efficiency: The same for a forward and a backward pass.
    """

    multiply_adds: float
    efficiency: float
    training_efficiency: float


NETWORKS = {
    "alexnet": NetworkCost(710e6, 0.7, 0.8),
    "resnet18": NetworkCost(2049e6, 1.0, 1.0),
    "shufflenet_v2": NetworkCost(168e6, 0.45, 0.2),
    "squeezenet": NetworkCost(287e6, 0.5, 0.45),
    "vgg16": NetworkCost(15484e6, 1.1, 1.1),
    "resnet50": NetworkCost(4625e6, 0.9, 1.0),
    "resnet152": NetworkCost(13082e6, 1.0, 1.0),
    "efficientnet_lite0": NetworkCost(448e6, 0.4, 0.2),
}
"""The costs by the names of `classifier.networks`; the thesis's four networks come first."""

FROZEN_RATE = 80e9
"""The multiply-adds per second of ResNet-18 in a forward pass in float32, on two cores of an AMD EPYC server."""

TRAINING_RATE = 150e9
"""The multiply-adds per second of ResNet-18 in training in bfloat16; CPUs without bfloat16 reach about a third."""

_SIDE = 225
_USUAL_SIZE = (700, 460)
_BACKWARD = 2  # a backward pass costs about two forward passes
_FLIPS = 4
_EXPECTED_EPOCHS = 0.8  # share of the maximum, because training stops early
_HELD_OUT = 0.2  # share of the training patients that are held out for early stopping
_SECONDS_TO_READ = 0.02  # per image, decoded and hashed by two threads
_SECONDS_TO_FIT_HEAD = 1e-3  # per training image
_SECONDS_TO_REPORT = 10.0
_LEAVE_ONE_OUT = 20  # patients, because their number is unknown here
_OFFICIAL = 5  # official fold lists


def estimate_seconds(
    images: int, patches_per_image: float | None = None, *, options: FitOptions, rate: float | None = None
) -> float:
    """Estimate the duration of a training run in seconds: cross-validation, report and final fit.

    On an idle machine the actual duration is between half and twice the estimate, because of early stopping and
    because each machine suits some networks better than others. On a busy machine it is several times longer. Without
    a rate, the estimate assumes two cores of a server of 2024: a GPU is far faster, an old laptop several times slower.
    A run that finds features or images in the cache is faster than the estimate.

    Args:
        images: Number of images that the options select.
        patches_per_image: Number of patches per image; None means that of the options' grid on 700x460 pixels.
        options: Options of the run.
        rate: Rate of an earlier run of the same mode, from `rate_of`; None means that of a two-core CPU.
    """
    return math.fsum(seconds_by_stage(images, patches_per_image, options=options, rate=rate).values())


def seconds_by_stage(
    images: int, patches_per_image: float | None = None, *, options: FitOptions, rate: float | None = None
) -> dict[Stage, float]:
    """Return the estimate of `estimate_seconds` by stage, in the order of the stages."""
    rate = rate or (FROZEN_RATE if options.mode == "frozen" else TRAINING_RATE)
    seconds = _fixed_seconds(images, options)
    for stage, work in _work(images, patches_per_image, options).items():
        seconds[stage] += work / rate
    return seconds


def rate_of(
    seconds: float, images: int, patches_per_image: float | None = None, *, options: FitOptions
) -> float | None:
    """Return the rate of the machine of a finished run; None if the run was too short.

    Args:
        seconds: Duration of the whole run, which must have started with an empty cache.
        images: As in `estimate_seconds`.
        patches_per_image: As in `estimate_seconds`.
        options: Options of the run.
    """
    computing = seconds - math.fsum(_fixed_seconds(images, options).values())
    if computing < seconds / 10:
        return None
    return math.fsum(_work(images, patches_per_image, options).values()) / computing


def _work(images: int, patches_per_image: float | None, options: FitOptions) -> dict[Stage, float]:
    """Return the work of each stage, in the multiply-adds of ResNet-18 that take the same time."""
    if patches_per_image is None:
        width, height = (max(side, options.grid.size) for side in _USUAL_SIZE)
        patches_per_image = len(options.grid.boxes(width=width, height=height))
    cost = NETWORKS[options.network]
    a_patch = cost.multiply_adds * (options.grid.size / _SIDE) ** 2
    patches = images * patches_per_image
    variants = _FLIPS if options.test_time_flips else 1
    if options.mode == "frozen":
        return {Stage.FEATURES: patches * variants * a_patch / cost.efficiency}
    members, (folds, repeats) = options.seeds, _folds(options)
    trained_on = images * (1 - 1 / folds)
    epochs = max(1, options.epochs * _EXPECTED_EPOCHS) * members
    step = (1 + _BACKWARD) * options.draws * a_patch / cost.training_efficiency
    scoring = patches_per_image * a_patch / cost.efficiency
    a_fold = epochs * trained_on * ((1 - _HELD_OUT) * step + _HELD_OUT * variants * scoring)
    tested = images * members * variants * scoring
    return {Stage.FOLDS: repeats * (folds * a_fold + tested), Stage.FINAL: epochs * images * step}


def _fixed_seconds(images: int, options: FitOptions) -> dict[Stage, float]:
    """Return the seconds of each stage that do not depend on the machine's rate; all stages, in order."""
    head = images * _SECONDS_TO_FIT_HEAD if options.mode == "frozen" else 0.0
    return {
        Stage.READING: images * _SECONDS_TO_READ,
        Stage.FEATURES: 0.0,
        Stage.FOLDS: head * math.prod(_folds(options)),
        Stage.REPORT: _SECONDS_TO_REPORT,
        Stage.FINAL: head,
    }


def _folds(options: FitOptions) -> tuple[int, int]:
    """Return the number of folds per repeat, and the number of repeats."""
    if options.protocol == "lopo":
        return _LEAVE_ONE_OUT, 1
    return (_OFFICIAL, 1) if options.protocol == "official" else (options.folds, options.repeats)
