"""What is said between a child that works and the process that started it. No PyTorch here: web servers import this."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, TypeAdapter, ValidationError

from trainer.options import FitOptions
from trainer.schemas import Epoch, FrozenModel, PatchMetrics
from trainer.utils.files import write_atomically

ORDER_FILE, OUTCOME_FILE, LOG_FILE = "order.json", "outcome.json", "log.txt"
"""In the child's folder: what it shall do, how it ended, and what the parent keeps of its standard error."""

BUNDLE_FOLDER, REPORT_FILE = "bundle", "report.html"
"""In the child's folder, what a training run gives."""

ORPHANED = 3
"""Exit status of a child whose parent is gone."""


class ArchiveBounds(FrozenModel):
    """How much an archive may hold.

    Attributes:
        max_bytes: Of all members together, unpacked.
        max_members: Files and folders.
        max_ratio: Unpacked bytes over packed ones, of each member and of all together; images hardly shrink, bombs do.
    """

    max_bytes: int = Field(default=8 * 1024**3, gt=0)
    max_members: int = Field(default=50_000, gt=0)
    max_ratio: float = Field(default=100, gt=0)


class LabelledFile(FrozenModel):
    """An image file, what its pixels are, and the truth about it."""

    path: Path
    sha256: str
    label: Literal["benign", "malignant"]
    patient: str
    magnification: str = ""


class CheckOrder(FrozenModel):
    """Check a data set by the rules of a training.

    Attributes:
        archive: A zip to unpack into `source` first; None where the images lie there already.
        source: The data set's folder.
        bounds: Of the archive.
        cache: Folder for what was decoded.
        smallest: Least side of an image, in pixels.
    """

    kind: Literal["check"] = "check"
    archive: Path | None = None
    source: Path
    bounds: ArchiveBounds = ArchiveBounds()
    cache: Path
    smallest: int = Field(default=225, ge=1)


class TrainOrder(FrozenModel):
    """Measure a way to make a model by cross-validation, report on it, and make the model.

    Attributes:
        source: The data set's folder.
        fingerprint: What the data set must still have, see `CheckResult`; "" for any.
        name: Of the model.
        options: See `FitOptions`.
        citation: Of the data; known for BreakHis and for synthetic images when "".
        device: `auto`, or a device in PyTorch's notation.
        cache: Folder for decoded images and computed features.
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
    """Let two models judge the same images.

    Attributes:
        champion: Folder of the bundle that serves.
        candidate: Folder of the bundle that might serve instead.
        images: Which neither should have seen in training; that is the caller's business.
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
        folder: Where the bundle shall lie.
        max_bytes: Of the bundle's files together, unpacked.
    """

    kind: Literal["bundle"] = "bundle"
    archive: Path
    folder: Path
    max_bytes: int = Field(default=2 * 1024**3, gt=0)


Order: TypeAlias = CheckOrder | TrainOrder | CompareOrder | BundleOrder


class Progress(FrozenModel):
    """How far the work is: `done` of `total` in this stage, and the share of the whole order, which only rises."""

    event: Literal["progress"] = "progress"
    stage: str
    done: int
    total: int
    fraction: float = Field(ge=0, le=1)


class EpochDone(FrozenModel):
    """An epoch has ended. Folds count from 0; the fold after the last one is the final fit on all images."""

    event: Literal["epoch"] = "epoch"
    fold: int
    folds: int
    epoch: Epoch


class FoldDone(FrozenModel):
    """A fold has ended; see `trainer.schemas.FoldResult`. `epochs` counts them, `seconds` are those of all attempts."""

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
    """The order is done; `result` is one of the results below, as plain data."""

    state: Literal["succeeded"] = "succeeded"
    result: dict[str, Any]


class Failed(FrozenModel):
    """The order cannot be done; the message says why and what to do, the details list each thing that is wrong."""

    state: Literal["failed"] = "failed"
    code: FailureCode
    message: str
    details: tuple[str, ...] = ()


Outcome: TypeAlias = Succeeded | Failed


class CheckedImage(FrozenModel):
    """One image of a data set, as `trainer.data.records.LabelledImage`; `path` is relative to the data set's folder."""

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
    """What a data set holds.

    Attributes:
        images: Those that can be used, no two with equal pixels.
        notes: What was done to the list, in sentences.
        fingerprint: See `trainer.data.datasets.ImageDataset.fingerprint`.
        synthetic: True where no patient is behind the images.
        bytes: Of all files of `images`.
    """

    images: tuple[CheckedImage, ...]
    notes: tuple[str, ...]
    fingerprint: str
    synthetic: bool
    bytes: int


class TrainResult(FrozenModel):
    """What a training run gave: names below its folder, and the bundle's own metrics."""

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
    """One measure of both models; all None where the images are of one class and the measure needs two.

    Attributes:
        measure: See `trainer.evaluation.metrics.Metrics`.
        champion: Its value.
        candidate: Its value.
        difference: Candidate minus champion, by the paired bootstrap over patients.
        candidate_better: Share of the draws in which the candidate is the better one; equals count half.
    """

    measure: str
    champion: float | None = None
    candidate: float | None = None
    difference: Interval | None = None
    candidate_better: float | None = None


class Confusion(FrozenModel):
    """Images by truth and verdict, malignant being positive."""

    tn: int
    fp: int
    fn: int
    tp: int


class Confusions(FrozenModel):
    """Of both models."""

    champion: Confusion
    candidate: Confusion


class CompareResult(FrozenModel):
    """Two models on the same images."""

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
    """A bundle that works: its identity, what it is, and what it says of a known image."""

    sha256: str
    name: str
    network: str
    probability: float
    seconds: float


_ORDER: TypeAdapter[Order] = TypeAdapter(Annotated[Order, Field(discriminator="kind")])
_EVENT: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="event")])
_OUTCOME: TypeAdapter[Outcome] = TypeAdapter(Annotated[Outcome, Field(discriminator="state")])


def write_order(folder: Path, order: Order) -> None:
    """Leave an order in a folder, made if it is missing."""
    _write(folder / ORDER_FILE, order)


def read_order(folder: Path) -> Order:
    """The order in a folder.

    Raises:
        OSError: If there is none.
        ValueError: If it is none that we know.
    """
    return _ORDER.validate_json((folder / ORDER_FILE).read_bytes())


def write_outcome(folder: Path, outcome: Outcome) -> None:
    """Leave the outcome in a folder, completely or not at all."""
    _write(folder / OUTCOME_FILE, outcome)


def read_outcome(folder: Path) -> Outcome | None:
    """The outcome in a folder, or None where there is none yet."""
    try:
        return _OUTCOME.validate_json((folder / OUTCOME_FILE).read_bytes())
    except (OSError, ValidationError):
        return None


def read_event(line: str | bytes) -> Event | None:
    """The event that a line of a child's standard output tells; None for a line that a dying child broke off."""
    try:
        return _EVENT.validate_json(line)
    except ValidationError:
        return None


def _write(path: Path, content: FrozenModel) -> None:
    write_atomically(path, lambda file: file.write(content.model_dump_json(indent=1).encode()))
