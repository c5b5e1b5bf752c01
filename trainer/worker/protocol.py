"""The protocol between a child process and its parent: orders, events and outcomes.

Web servers import this module, so it needs no PyTorch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, TypeAdapter, ValidationError

from trainer.options import FitOptions
from trainer.schemas import Epoch, FrozenModel, PatchMetrics
from trainer.utils.files import write_atomically

ORDER_FILE, OUTCOME_FILE, LOG_FILE = "order.json", "outcome.json", "log.txt"
"""Files in the child's folder: its order, its outcome, and the parent's copy of its standard error."""

BUNDLE_FOLDER, REPORT_FILE = "bundle", "report.html"
"""The results of a training run in the child's folder."""

ORPHANED = 3
"""The exit status of a child whose parent is gone."""


class ArchiveBounds(FrozenModel):
    """Bounds on the content of an archive.

    Attributes:
        max_bytes: The maximum size of all members together, unpacked.
        max_members: The maximum number of files and folders.
        max_ratio: The maximum ratio of unpacked to packed bytes, for each member and for the whole archive. Images
            hardly shrink; decompression bombs do.
    """

    max_bytes: int = Field(default=8 * 1024**3, gt=0)
    max_members: int = Field(default=50_000, gt=0)
    max_ratio: float = Field(default=100, gt=0)


class LabelledFile(FrozenModel):
    """An image file with its pixel hash, label and patient."""

    path: Path
    sha256: str
    label: Literal["benign", "malignant"]
    patient: str
    magnification: str = ""


class CheckOrder(FrozenModel):
    """Check a data set by the rules of a training.

    Attributes:
        archive: A zip to unpack into `source` first; None if the images are there already.
        source: The data set's folder.
        bounds: The bounds on the archive.
        cache: The cache folder.
        smallest: The minimum side of an image, in pixels.
    """

    kind: Literal["check"] = "check"
    archive: Path | None = None
    source: Path
    bounds: ArchiveBounds = ArchiveBounds()
    cache: Path
    smallest: int = Field(default=225, ge=1)


class TrainOrder(FrozenModel):
    """Evaluate options by cross-validation, write a report, and fit the model.

    Attributes:
        source: The data set's folder.
        fingerprint: The fingerprint that the data set must still have, see `CheckResult`; "" for any.
        name: The model's name.
        options: See `FitOptions`.
        citation: The citation of the images; "" for the known one of BreakHis and of synthetic images.
        device: `auto`, or a device in PyTorch's notation.
        cache: The cache folder for decoded images and features.
    """

    kind: Literal["train"] = "train"
    source: Path
    fingerprint: str = ""
    name: str
    options: FitOptions
    citation: str = ""
    device: str = "auto"
    cache: Path


class CompareOrder(FrozenModel):
    """Compare two models on the same images.

    Attributes:
        champion: The folder of the champion's bundle.
        candidate: The folder of the candidate's bundle.
        images: The images; the caller excludes images that a model has seen in training.
        device: `auto`, or a device in PyTorch's notation.
    """

    kind: Literal["compare"] = "compare"
    champion: Path
    candidate: Path
    images: tuple[LabelledFile, ...]
    device: str = "auto"


class BundleOrder(FrozenModel):
    """Unpack an uploaded bundle and try it.

    Attributes:
        archive: The uploaded file.
        folder: The new folder of the bundle.
        max_bytes: The maximum size of the bundle's files together, unpacked.
    """

    kind: Literal["bundle"] = "bundle"
    archive: Path
    folder: Path
    max_bytes: int = Field(default=2 * 1024**3, gt=0)


Order: TypeAlias = CheckOrder | TrainOrder | CompareOrder | BundleOrder


class Progress(FrozenModel):
    """The progress: `done` of `total` in this stage, and the finished share of the whole order, which never falls."""

    event: Literal["progress"] = "progress"
    stage: str
    done: int
    total: int
    fraction: float = Field(ge=0, le=1)


class EpochDone(FrozenModel):
    """The end of an epoch; folds count from 0, and the one after the last is the final fit on all images."""

    event: Literal["epoch"] = "epoch"
    fold: int
    folds: int
    epoch: Epoch


class FoldDone(FrozenModel):
    """The end of a fold; see `trainer.schemas.FoldResult`. `epochs` is their number, `seconds` covers all attempts."""

    event: Literal["fold"] = "fold"
    fold: int
    folds: int
    name: str
    training: PatchMetrics
    validation: PatchMetrics | None = None
    test: PatchMetrics
    epochs: int
    best_epoch: int | None = None
    seconds: float


Event: TypeAlias = Progress | EpochDone | FoldDone

FailureCode = Literal[
    "data_set_problems", "bad_archive", "data_changed", "file_gone", "out_of_memory", "diverged", "bad_options",
    "weights_unavailable", "bad_bundle", "disk_full", "failed",
]  # fmt: skip


class Succeeded(FrozenModel):
    """The outcome of a successful order; `result` is one of the results below as JSON-compatible data."""

    state: Literal["succeeded"] = "succeeded"
    result: dict[str, Any]


class Failed(FrozenModel):
    """The outcome of a failed order: the message says why and what to do, the details list each problem."""

    state: Literal["failed"] = "failed"
    code: FailureCode
    message: str
    details: tuple[str, ...] = ()


Outcome: TypeAlias = Succeeded | Failed


class CheckedImage(FrozenModel):
    """One image, see `trainer.data.records.LabelledImage`; `path` is relative to the data set's folder."""

    path: str
    sha256: str
    label: str
    patient: str
    subtype: str
    slide: str
    magnification: str
    whole: bool
    width: int
    height: int


class CheckResult(FrozenModel):
    """The content of a checked data set.

    Attributes:
        images: The usable images, no two with equal pixels.
        notes: See `trainer.data.datasets.ImageDataset`.
        fingerprint: See `trainer.data.datasets.ImageDataset.fingerprint`.
        synthetic: Whether the images are synthetic.
        bytes: The total size of the image files, in bytes.
    """

    images: tuple[CheckedImage, ...]
    notes: tuple[str, ...]
    fingerprint: str
    synthetic: bool
    bytes: int


class TrainResult(FrozenModel):
    """The result of a training run: names in its folder, and the metrics of the bundle."""

    bundle: str = BUNDLE_FOLDER
    report: str = REPORT_FILE
    metrics: dict[str, Any]
    notes: tuple[str, ...]
    seconds: float


class Interval(FrozenModel):
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


class Measure(FrozenModel):
    """One metric of both models; all values are None if the metric needs two classes and the images have one.

    Attributes:
        measure: The name of the metric, see `trainer.evaluation.metrics.Metrics`.
        champion: The champion's value.
        candidate: The candidate's value.
        difference: Candidate minus champion, by the paired bootstrap over patients.
        candidate_better: The share of bootstrap draws in which the candidate is better; ties count half.
    """

    measure: str
    champion: float | None = None
    candidate: float | None = None
    difference: Interval | None = None
    candidate_better: float | None = None


class Confusion(FrozenModel):
    """The number of images by truth and verdict; malignant is the positive class."""

    tn: int
    fp: int
    fn: int
    tp: int


class Confusions(FrozenModel):
    """The confusion matrices of both models."""

    champion: Confusion
    candidate: Confusion


class CompareResult(FrozenModel):
    """The comparison of two models on the same images."""

    images: int
    patients: int
    benign: int
    malignant: int
    measures: tuple[Measure, ...]
    confusion: Confusions
    both_right: int
    only_champion_right: int
    only_candidate_right: int
    both_wrong: int
    verdicts_differ: int


class BundleResult(FrozenModel):
    """A bundle that works: its identity, its network, and its probability for a known image."""

    sha256: str
    name: str
    network: str
    probability: float
    seconds: float


_ORDER: TypeAdapter[Order] = TypeAdapter(Annotated[Order, Field(discriminator="kind")])
_EVENT: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="event")])
_OUTCOME: TypeAdapter[Outcome] = TypeAdapter(Annotated[Outcome, Field(discriminator="state")])


def write_order(folder: Path, order: Order) -> None:
    """Write an order into a folder, which is created if it does not exist."""
    _write(folder / ORDER_FILE, order)


def read_order(folder: Path) -> Order:
    """Read the order in a folder.

    Raises:
        OSError: If there is no order.
        ValueError: If the order is invalid.
    """
    return _ORDER.validate_json((folder / ORDER_FILE).read_bytes())


def write_outcome(folder: Path, outcome: Outcome) -> None:
    """Write the outcome into a folder, completely or not at all."""
    _write(folder / OUTCOME_FILE, outcome)


def read_outcome(folder: Path) -> Outcome | None:
    """Read the outcome in a folder; None if there is none yet."""
    try:
        return _OUTCOME.validate_json((folder / OUTCOME_FILE).read_bytes())
    except (OSError, ValidationError):
        return None


def read_event(line: str | bytes) -> Event | None:
    """Parse a line of a child's standard output; None for a line that a killed child did not finish."""
    try:
        return _EVENT.validate_json(line)
    except ValidationError:
        return None


def _write(path: Path, content: FrozenModel) -> None:
    write_atomically(path, lambda file: file.write(content.model_dump_json(indent=1).encode()))
