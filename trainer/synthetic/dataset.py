"""Synthetic H&E micrographs, for trying Patchvote without real images.

The images are drawn by rules: a stroma of wavy fibres with spindle nuclei, and in it either benign architecture (ducts
with an open lumen and a regular ring of small, even, round nuclei) or malignant architecture (crowded, irregular nests
of large, dark, uneven nuclei without lumina). The module needs no PyTorch: a web server draws a sample in a fraction of
a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from tqdm import tqdm

from trainer.data.records import CLASSES, SYNTHETIC_MARKER
from trainer.synthetic.tissue import Canvas, Outline, draw_carcinoma, draw_ducts, outline, scatter_stromal_nuclei
from trainer.utils.stain import to_rgb

Size = tuple[int, int]

SIZE: Size = (700, 460)
"""The width and height of a BreakHis image, in pixels."""

_LOBULE_CHANCE = 0.6
_LOBULE_RADIUS = 70.0
_TRIALS = 30
_FIRST_CASE = 900001  # BreakHis's own case numbers have five digits at the most
_SUBTYPES = {"benign": ("A", "adenosis"), "malignant": ("DC", "ductal_carcinoma")}
_MARKER = """Synthetic micrographs, drawn by `python -m trainer synthetic`. No patient is behind them.
A model that is fitted on them says so, and its verdicts mean nothing.
"""


@dataclass(frozen=True)
class Stain:
    """The staining and optics of one patient's slides.

    Attributes:
        colours: The optical densities of haematoxylin and eosin, of shape (2, 3).
        haematoxylin: The strength of haematoxylin.
        eosin: The strength of eosin.
        glass: The brightness of bare glass in red, green and blue, 0..1.
        blur: The blur of the optics, in pixels.
    """

    colours: NDArray[np.float64]
    haematoxylin: float
    eosin: float
    glass: NDArray[np.float64]
    blur: float


def patient_stain(seed: int) -> Stain:
    """Return the stain of one invented patient."""
    random = np.random.default_rng([seed, 1])
    haematoxylin = np.array([0.62, 0.72, 0.33]) + random.normal(0, 0.035, 3)
    eosin = np.array([0.12, 0.88, 0.32]) + random.normal(0, 0.05, 3)
    return Stain(
        colours=np.clip(np.stack([haematoxylin, eosin]), 0.02, 1),
        haematoxylin=float(random.uniform(0.8, 1.15)),
        eosin=float(random.uniform(0.6, 1.15)),
        glass=np.array([0.93, 0.93, 0.92]) + random.uniform(-0.03, 0.03, 3),
        blur=float(random.uniform(0.5, 0.9)),
    )


def sample(label: str, seed: int = 0, size: Size = SIZE, *, patient: int | None = None) -> Image.Image:
    """Draw one micrograph; the same arguments give the same pixels.

    Args:
        label: `benign` or `malignant`.
        seed: The seed of the tissue.
        size: The width and height, in pixels.
        patient: The seed of the stain, shared by all images of a patient; None for the seed of the tissue.

    Raises:
        ValueError: If the label is another one, or a side is below one pixel.
    """
    if label not in CLASSES:
        raise ValueError(f"{label!r} is not one of {', '.join(CLASSES)}.")
    if min(size) < 1:
        raise ValueError("A micrograph needs at least one pixel in width and height.")
    random = np.random.default_rng([seed, CLASSES.index(label)])
    canvas = Canvas(*size, random)
    if label == "benign":
        _draw_benign(canvas)
    else:
        _draw_malignant(canvas)
    return Image.fromarray(_photograph(canvas, patient_stain(seed if patient is None else patient)))


def write_tree(
    out: Path, *, patients: int = 6, images: int = 4, seed: int = 0, size: Size = SIZE, progress: bool = False
) -> int:
    """Write a data set with the layout and the names of BreakHis, marked as synthetic.

    Args:
        out: The new folder; it must not exist yet, or be empty.
        patients: The number of patients of each class.
        images: The number of images of each patient.
        seed: The seed of all random numbers.
        size: The width and height of each image, in pixels.
        progress: Show a progress bar.

    Returns:
        The number of images.

    Raises:
        ValueError: If the folder is not empty, or a number is below one.
    """
    if min(patients, images) < 1:
        raise ValueError("A data set needs at least one patient of each class and one image of each patient.")
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"{out} is not empty. Choose another folder.")
    out.mkdir(parents=True, exist_ok=True)
    (out / SYNTHETIC_MARKER).write_text(_MARKER, encoding="utf-8")
    wanted = [(label, patient, image) for label in CLASSES for patient in range(patients) for image in range(images)]
    for label, patient, image in tqdm(wanted, desc="Drawing", unit="image", disable=not progress):
        code, subtype = _SUBTYPES[label]
        case = _FIRST_CASE + CLASSES.index(label) * patients + patient
        stem = f"SOB_{label[0].upper()}_{code}"
        folder = out / "histology_slides" / "breast" / label / "SOB" / subtype / f"{stem}_14-{case}" / "40X"
        folder.mkdir(parents=True, exist_ok=True)
        stain, tissue = _seed(seed, case), _seed(seed, case, image)
        micrograph = sample(label, tissue, size, patient=stain)
        micrograph.save(folder / f"{stem}-14-{case}-40-{image + 1:03}.png", compress_level=1)
    return len(wanted)


def _seed(*parts: int) -> int:
    """Derive one seed from several numbers."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def _draw_benign(canvas: Canvas) -> None:
    """Draw loose stroma with single ducts and, in most images, a lobule: small acini close together."""
    random = canvas.random
    scatter_stromal_nuclei(canvas, spacing=float(random.uniform(12, 17)))
    canvas.paint_nuclei()
    has_lobule = random.random() < _LOBULE_CHANCE
    places = _apart(canvas, (_LOBULE_RADIUS,) * has_lobule + tuple(random.uniform(16, 48, random.integers(5, 9))))
    ducts = [
        outline(random, x, y, radius, waviness=0.13, elongation=float(random.uniform(1, 2)))
        for x, y, radius in places[has_lobule:]
    ]
    if has_lobule:
        ducts += _lobule(random, *places[0][:2])
    draw_ducts(canvas, ducts)
    canvas.paint_nuclei()


def _lobule(random: np.random.Generator, x: float, y: float) -> list[Outline]:
    """Return the acini of one lobule, in rings around its centre."""
    acini = []
    for ring, count in ((0, 1), (1, 6), (2, 11)):
        for turn in 2 * np.pi * (np.arange(count) + random.uniform(0, 1)) / count:
            across, down = ring * 33 * np.array([np.cos(turn), np.sin(turn)]) + random.normal(0, 3, 2)
            radius, elongation = float(random.uniform(9, 14)), float(random.uniform(1, 1.4))
            acini.append(outline(random, x + across, y + down, radius, waviness=0.06, elongation=elongation))
    return acini


def _draw_malignant(canvas: Canvas) -> None:
    """Draw nests and cords of tumour that grow through the stroma."""
    random = canvas.random
    scatter_stromal_nuclei(canvas, spacing=float(random.uniform(10, 13)))
    canvas.paint_nuclei()
    nests = canvas.noise(float(random.uniform(11, 20))) + 0.6 * canvas.noise(60) + 0.25 * canvas.noise(4)
    draw_carcinoma(canvas, (nests > random.uniform(-0.1, 0.5)).astype(np.float32))
    canvas.paint_nuclei()


def _apart(canvas: Canvas, radii: Sequence[float]) -> list[tuple[float, float, float]]:
    """Return a place (x, y, radius) for each radius that fits without overlap; the image border may cut some."""
    random = canvas.random
    places: list[tuple[float, float, float]] = []
    for radius in radii:
        for _ in range(_TRIALS):
            x, y = float(random.uniform(0, canvas.width)), float(random.uniform(0, canvas.height))
            if all(np.hypot(x - a, y - b) > 1.3 * (radius + r) for a, b, r in places):
                places.append((x, y, float(radius)))
                break
    return places


def _photograph(canvas: Canvas, stain: Stain) -> NDArray[np.uint8]:
    """Render the canvas, stained and seen through a microscope."""
    random = canvas.random
    amounts = np.stack([stain.haematoxylin * canvas.haematoxylin, stain.eosin * canvas.eosin], axis=2)
    amounts *= (1 + 0.06 * canvas.noise(90))[:, :, None]
    rendered = to_rgb(amounts.astype(np.float32), stain.colours).astype(np.float32) * stain.glass
    rendered = ndimage.gaussian_filter(rendered, (stain.blur, stain.blur, 0))
    rendered += random.normal(0, 2.2, rendered.shape)
    pixels: NDArray[np.uint8] = np.clip(rendered, 0, 255).astype(np.uint8)
    return pixels
