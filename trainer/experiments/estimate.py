"""How long a training run takes, before it is started. No PyTorch here: a web server asks.

The work is counted in multiply-adds of the network, weighed by how well hardware likes that network, and divided by a
rate: that of the machine, learnt from a finished run where there is one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from trainer.options import FitOptions
from trainer.utils.progress import Stage


@dataclass(frozen=True)
class NetworkCost:
    """What a network costs.

    Attributes:
        multiply_adds: Of one forward pass of one patch of 225x225 pixels, counted layer by layer.
        ease: Multiply-adds a second in a forward pass, relative to ResNet-18's: depthwise convolutions are slow.
        training_ease: The same, forward and backward.
    """

    multiply_adds: float
    ease: float
    training_ease: float


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
"""By the names of `classifier.networks`, the thesis's four first."""

FROZEN_RATE = 80e9
"""ResNet-18's multiply-adds a second in a forward pass in float32, measured on two cores of an AMD EPYC server."""

TRAINING_RATE = 150e9
"""The same while it is trained, in bfloat16; a CPU that does not multiply bfloat16 has about a third of it."""

_SIDE = 225
_USUAL_SIZE = (700, 460)
_BACKWARD = 2  # a backward pass costs about two forward passes
_FLIPS = 4
_EXPECTED_EPOCHS = 0.8  # training stops when validation patients have had enough
_HELD_OUT = 0.2  # of the training patients, by which training stops
_SECONDS_TO_READ = 0.02  # an image: decoded and hashed by two threads
_SECONDS_OF_A_HEAD = 1e-3  # for each image it is fitted on
_SECONDS_TO_REPORT = 10.0
_LEAVE_ONE_OUT = 20  # patients, where nobody says how many there are
_OFFICIAL = 5  # fold lists


def estimate_seconds(
    images: int, patches_per_image: float | None = None, *, options: FitOptions, rate: float | None = None
) -> float:
    """How long a training run takes: cross-validation, report and final fit.

    Expect the truth between half and twice of it on a quiet machine: networks that stop early, and hardware that likes
    one network better than another, see to that. Where other work keeps the cores busy it takes several times as long.
    Without a rate the machine is taken to be like two cores of a server of 2024, so a GPU is far faster, and an old
    laptop several times slower. What an earlier run left in the cache makes a run faster than this.

    Args:
        images: How many the options choose.
        patches_per_image: Of the options' grid; as on an image of 700x460 pixels when None.
        options: Of the run.
        rate: Of an earlier run of the same mode, by `rate_of`; a two-core CPU's when None.
    """
    return math.fsum(seconds_by_stage(images, patches_per_image, options=options, rate=rate).values())


def seconds_by_stage(
    images: int, patches_per_image: float | None = None, *, options: FitOptions, rate: float | None = None
) -> dict[Stage, float]:
    """The parts of `estimate_seconds`, in their order."""
    rate = rate or (FROZEN_RATE if options.mode == "frozen" else TRAINING_RATE)
    seconds = _apart_from_the_network(images, options)
    for stage, work in _work(images, patches_per_image, options).items():
        seconds[stage] += work / rate
    return seconds


def rate_of(
    seconds: float, images: int, patches_per_image: float | None = None, *, options: FitOptions
) -> float | None:
    """The rate of the machine that a run took so long on; None where the run was too short to tell.

    Args:
        seconds: Of the whole run, one that found nothing in the cache.
        images: See `estimate_seconds`.
        patches_per_image: See `estimate_seconds`.
        options: Of that run.
    """
    computing = seconds - math.fsum(_apart_from_the_network(images, options).values())
    if computing < seconds / 10:
        return None
    return math.fsum(_work(images, patches_per_image, options).values()) / computing


def _work(images: int, patches_per_image: float | None, options: FitOptions) -> dict[Stage, float]:
    """Multiply-adds as ResNet-18 would need them in the same time."""
    if patches_per_image is None:
        width, height = (max(side, options.grid.size) for side in _USUAL_SIZE)
        patches_per_image = len(options.grid.boxes(width=width, height=height))
    cost = NETWORKS[options.network]
    a_patch = cost.multiply_adds * (options.grid.size / _SIDE) ** 2
    patches = images * patches_per_image
    variants = _FLIPS if options.test_time_flips else 1
    if options.mode == "frozen":
        return {Stage.FEATURES: patches * variants * a_patch / cost.ease}
    members, (folds, repeats) = options.seeds, _folds(options)
    trained_on = images * (1 - 1 / folds)
    epochs = max(1, options.epochs * _EXPECTED_EPOCHS) * members
    step = (1 + _BACKWARD) * options.draws * a_patch / cost.training_ease
    looked_at = patches_per_image * a_patch / cost.ease
    a_fold = epochs * trained_on * ((1 - _HELD_OUT) * step + _HELD_OUT * variants * looked_at)
    tested = images * members * variants * looked_at
    return {Stage.FOLDS: repeats * (folds * a_fold + tested), Stage.FINAL: epochs * images * step}


def _apart_from_the_network(images: int, options: FitOptions) -> dict[Stage, float]:
    """Seconds that do not depend on the machine's rate, by stage; all stages, in their order."""
    head = images * _SECONDS_OF_A_HEAD if options.mode == "frozen" else 0.0
    return {
        Stage.READING: images * _SECONDS_TO_READ,
        Stage.FEATURES: 0.0,
        Stage.FOLDS: head * math.prod(_folds(options)),
        Stage.REPORT: _SECONDS_TO_REPORT,
        Stage.FINAL: head,
    }


def _folds(options: FitOptions) -> tuple[int, int]:
    """Folds of one repeat, and repeats."""
    if options.protocol == "lopo":
        return _LEAVE_ONE_OUT, 1
    return (_OFFICIAL, 1) if options.protocol == "official" else (options.folds, options.repeats)
