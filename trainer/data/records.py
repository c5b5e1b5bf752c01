"""Records of labelled images, read from a manifest or from a BreakHis folder tree.

This module does not decode images; `trainer.data.datasets` checks the pixels.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trainer.errors import ProblemsError

CLASSES = ("benign", "malignant")
"""The labels: the negative class first."""

MAGNIFICATIONS = ("40X", "100X", "200X", "400X")

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"})

MANIFEST_NAME = "manifest.csv"

SYNTHETIC_MARKER = "SYNTHETIC.txt"
"""A file of this name beside the manifest or at the root of the tree marks the images as synthetic."""

_MANDATORY = ("path", "label", "patient")
_SUBTYPE_CODES = {
    "A": "adenosis",
    "F": "fibroadenoma",
    "PT": "phyllodes_tumor",
    "TA": "tubular_adenoma",
    "DC": "ductal_carcinoma",
    "LC": "lobular_carcinoma",
    "MC": "mucinous_carcinoma",
    "PC": "papillary_carcinoma",
}
SUBTYPES = tuple(_SUBTYPE_CODES.values())
"""BreakHis's eight tumour types, the four benign ones first."""
_BREAKHIS_NAME = re.compile(
    r"[A-Z]+_(?P<label>[BM])_(?P<subtype>[A-Z]+)-(?P<year>\d\d)-(?P<case>\d+)(?P<suffix>[A-Z]*)"
    r"-(?P<magnification>\d+)-\d+"
)
_YES, _NO = frozenset({"", "yes", "true", "1"}), frozenset({"no", "false", "0"})


class DataSetError(ProblemsError):
    """A data set that cannot be used."""


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """The record of one micrograph.

    Attributes:
        path: The path of the file.
        label: One of `CLASSES`.
        patient: Year and case number (`14-22549`): the unit of every split.
        subtype: The tumour type, or "".
        slide: Year, case number and suffix letters (`14-22549AB`), or "".
        magnification: One of `MAGNIFICATIONS`, or "" if it is unknown.
        whole: False for a crop of a micrograph.
        sha256: The SHA-256 of the decoded pixels, in hexadecimal; "" until the image has been checked.
        width: The width, in pixels; 0 until the image has been checked.
        height: The height, in pixels; 0 until the image has been checked.
    """

    path: Path
    label: str
    patient: str
    subtype: str = ""
    slide: str = ""
    magnification: str = ""
    whole: bool = True
    sha256: str = ""
    width: int = 0
    height: int = 0


@dataclass(frozen=True)
class Records:
    """The records of a source, before any pixel is read.

    Attributes:
        images: The records, in the source's order.
        problems: Everything that is wrong with the source, one sentence each.
        synthetic: Whether the source is marked as synthetic.
    """

    images: list[LabelledImage]
    problems: list[str]
    synthetic: bool


def read_records(source: Path) -> Records:
    """Read a manifest, or a folder: by its `manifest.csv` where it has one, else as a BreakHis tree.

    Args:
        source: A CSV file or a folder.

    Raises:
        DataSetError: If the source does not exist, or its manifest is not a table with the mandatory columns.
    """
    if source.is_file():
        return read_manifest(source)
    if not source.is_dir():
        raise DataSetError([f"{source} does not exist."])
    manifest = source / MANIFEST_NAME
    return read_manifest(manifest) if manifest.is_file() else read_tree(source)


def read_manifest(path: Path) -> Records:
    """Read a CSV file with a header line.

    The columns `path` (relative to the manifest's folder), `label` and `patient` are mandatory; `subtype`,
    `slide`, `magnification` (`40X` or `40`) and `whole` (`yes` or `no`) are optional.

    Raises:
        DataSetError: If the file is not a table with the mandatory columns.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="")
            missing = [name for name in _MANDATORY if name not in (reader.fieldnames or ())]
            if missing:
                raise DataSetError(
                    [f"{path} lacks the column {name}; it needs {', '.join(_MANDATORY)}." for name in missing]
                )
            rows = [(reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataSetError([f"{path} is not a CSV file in UTF-8: {error}."]) from error
    images: list[LabelledImage] = []
    problems: list[str] = []
    for line, row in rows:
        image, wrong = _from_row(row, path.parent)
        if image is not None:
            images.append(image)
        problems.extend(f"{path.name}, line {line}: {sentence}" for sentence in wrong)
    if not rows:
        problems.append(f"{path} lists no images.")
    return Records(images, problems, synthetic=(path.parent / SYNTHETIC_MARKER).is_file())


def _from_row(row: Mapping[str, str], folder: Path) -> tuple[LabelledImage | None, list[str]]:
    """Return the record of a row, None if the row names no file, and the problems of the row."""
    value = {name: (row.get(name) or "").strip() for name in LabelledImage.__slots__}
    problems = [f"{name} is empty." for name in _MANDATORY if not value[name]]
    label = value["label"].lower()
    if label and label not in CLASSES:
        problems.append(f"the label {value['label']!r} is not one of {', '.join(CLASSES)}.")
    magnification = value["magnification"].upper()
    if magnification and not magnification.endswith("X"):
        magnification += "X"
    if magnification and magnification not in MAGNIFICATIONS:
        problems.append(f"the magnification {value['magnification']!r} is not one of {', '.join(MAGNIFICATIONS)}.")
    whole = value["whole"].lower()
    if whole not in _YES | _NO:
        problems.append(f"whole is {value['whole']!r}, not yes or no.")
    image = LabelledImage(
        path=folder / value["path"],
        label=label,
        patient=value["patient"],
        subtype=re.sub(r"[\s-]+", "_", value["subtype"].lower()),
        slide=value["slide"],
        magnification=magnification,
        whole=whole in _YES,
    )
    return (image if value["path"] else None), problems


def read_tree(root: Path) -> Records:
    """Read every image below a folder by its BreakHis name, such as `SOB_B_A-14-22549AB-40-001.png`.

    Files that are not images are ignored. An image with another name is a problem, and so is an image below a
    folder `benign` or `malignant` that contradicts its name.
    """
    images, problems = [], []
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() not in IMAGE_SUFFIXES or not path.is_file():
            continue
        image = from_breakhis_name(path)
        folders = {part.lower() for part in path.relative_to(root).parts[:-1]} & set(CLASSES)
        if image is None:
            problems.append(
                f"{path.relative_to(root)} has no BreakHis name such as SOB_B_A-14-22549AB-40-001.png, "
                f"so its label and patient are unknown. Rename it, or list the images in a {MANIFEST_NAME}."
            )
        elif folders and folders != {image.label}:
            problems.append(f"{path.relative_to(root)} lies in a folder of a class that contradicts its name.")
        else:
            images.append(image)
    if not images and not problems:
        problems.append(f"{root} contains no images and no {MANIFEST_NAME}.")
    return Records(images, problems, synthetic=(root / SYNTHETIC_MARKER).is_file())


def from_breakhis_name(path: Path) -> LabelledImage | None:
    """Return the record that a BreakHis file name encodes; None for another name.

    The letters after the case number distinguish slides of one case: 14-21998AB and 14-21998CD belong to the same
    patient.
    """
    match = _BREAKHIS_NAME.fullmatch(path.stem)
    if match is None or match["subtype"] not in _SUBTYPE_CODES or f"{match['magnification']}X" not in MAGNIFICATIONS:
        return None
    patient = f"{match['year']}-{match['case']}"
    return LabelledImage(
        path=path,
        label="benign" if match["label"] == "B" else "malignant",
        patient=patient,
        subtype=_SUBTYPE_CODES[match["subtype"]],
        slide=patient + match["suffix"],
        magnification=f"{match['magnification']}X",
    )
