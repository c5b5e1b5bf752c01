"""Draw tissue: the amounts of haematoxylin and eosin in a synthetic micrograph.

Lengths are in pixels of a BreakHis image at 40X. The module needs no PyTorch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

Floats = NDArray[np.float32]
Random = np.random.Generator

_FINE = 2  # shapes are drawn at twice the size and reduced, for smooth edges
_CORNERS = 14
_EDGE = 0.5  # the value of a mask at the edge of a shape
_NUCLEUS_SPACING = 3.8  # between the nuclei of a duct's lining
_TWO_LAYERS = 7  # the thickness of a wall with two layers of nuclei


class Canvas:
    """The tissue that has been drawn so far.

    Attributes:
        haematoxylin: The amount of haematoxylin, of shape (height, width).
        eosin: The amount of eosin, of shape (height, width).
        direction: The direction of the stroma's fibres, in radians, of shape (height, width).
        nuclei: The nuclei that `paint_nuclei` will draw.
    """

    def __init__(self, width: int, height: int, random: Random) -> None:
        """Start with stroma."""
        self.width, self.height, self.random = width, height, random
        self.nuclei: list[Nuclei] = []
        self._fibres(float(random.uniform(0, np.pi)))

    def noise(self, scale: float) -> Floats:
        """Return smooth noise of zero mean and unit deviation, with blobs of about `scale` pixels."""
        # Blobs are drawn small and enlarged, which looks the same and is many times faster.
        shrink = max(1.0, scale / 3)
        shape = (int(self.height / shrink) + 4, int(self.width / shrink) + 4)
        small = ndimage.gaussian_filter(self.random.standard_normal(shape).astype(np.float32), scale / shrink)
        enlarged = Image.fromarray(small).resize(
            (int(shape[1] * shrink), int(shape[0] * shrink)), Image.Resampling.BICUBIC
        )
        blobs = np.asarray(enlarged, dtype=np.float32)[: self.height, : self.width]
        even: Floats = (blobs - blobs.mean()) / (blobs.std() + np.float32(1e-6))
        return even

    def _fibres(self, angle: float) -> None:
        """Draw wavy bundles of collagen: noise stretched along a bending direction."""
        bend = self.noise(110) * 0.55 + self.noise(45) * 0.18
        self.direction = angle + bend
        y, x = np.mgrid[: self.height, : self.width].astype(np.float32)
        across = -x * np.sin(angle) + y * np.cos(angle) + 34 * self.noise(110) + 9 * self.noise(30)
        across += 2.4 * self.noise(9) + 0.8 * self.noise(4)
        along = x * np.cos(angle) + y * np.sin(angle)
        fine = self._streaks(across, along, width=1.1, length=7)
        coarse = self._streaks(across, along, width=2.8, length=17)
        wide = self._streaks(across, along, width=9, length=60)
        density = 0.42 + 0.08 * fine + 0.09 * coarse + 0.06 * wide + 0.10 * self.noise(50)
        cleft = 1 / (1 + np.exp(-(0.9 * coarse + 1.3 * wide + 0.3 * fine - 2.5) * 4))
        self.eosin = np.clip(density, 0.12, 1.2) * (1 - 0.93 * cleft)
        self.haematoxylin = np.clip(0.11 + 0.03 * fine + 0.03 * coarse + 0.03 * self.noise(25), 0, 1) * (1 - cleft)

    def _streaks(self, across: Floats, along: Floats, width: float, length: float) -> Floats:
        """Return noise with streaks that are `width` thick and `length` long in the given coordinates."""
        side = 256
        texture = self.random.standard_normal((side, side)).astype(np.float32)
        texture = ndimage.gaussian_filter(texture, (1.0, 2.0), mode="wrap")
        texture /= texture.std()
        places = np.stack([across / width, along / (length / 2)])
        streaks: Floats = ndimage.map_coordinates(texture, places, order=1, mode="grid-wrap")
        return streaks

    def mask(self, polygons: list[NDArray[np.float64]], fills: NDArray[np.float64] | float = 1.0) -> Floats:
        """Draw polygons with smooth edges.

        Args:
            polygons: The corners (x, y) of each polygon, of shape (corners, 2).
            fills: The value inside, 0..1, for each polygon or for all.

        Returns:
            A mask of shape (height, width), 0 outside the polygons.
        """
        image = Image.new("L", (self.width * _FINE, self.height * _FINE))
        draw = ImageDraw.Draw(image)
        values = np.broadcast_to(np.asarray(fills) * 255, len(polygons)).astype(int).tolist()
        for corners, value in zip(polygons, values, strict=True):
            draw.polygon((corners * _FINE).ravel().tolist(), fill=value)
        return np.asarray(image.reduce(_FINE), dtype=np.float32) / np.float32(255)

    def paint(self, mask: Floats, *, haematoxylin: Floats | float, eosin: Floats | float) -> None:
        """Replace the amounts under a mask."""
        self.haematoxylin = self.haematoxylin * (1 - mask) + mask * haematoxylin
        self.eosin = self.eosin * (1 - mask) + mask * eosin

    def paint_nuclei(self) -> None:
        """Draw the nuclei collected so far, with grainy chromatin."""
        outlines = [corners for nuclei in self.nuclei for corners in nuclei.outlines(self.random)]
        mask = self.mask(outlines, np.concatenate([nuclei.darkness for nuclei in self.nuclei]))
        grain = 1 + 0.10 * self.noise(1.2)
        self.paint(np.minimum(mask * 3, 1), haematoxylin=mask * 1.5 * grain, eosin=0.35)
        self.nuclei.clear()

    def inside(self, x: NDArray[np.float64], y: NDArray[np.float64], area: Floats) -> NDArray[np.bool_]:
        """Return whether each point lies where `area` is above one half."""
        columns = np.clip(x.astype(int), 0, self.width - 1)
        rows = np.clip(y.astype(int), 0, self.height - 1)
        within: NDArray[np.bool_] = area[rows, columns] > _EDGE
        return within


@dataclass(frozen=True)
class Nuclei:
    """Nuclei to draw, one array element per nucleus; lengths are in pixels, angles in radians."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    radius: NDArray[np.float64]
    elongation: NDArray[np.float64]
    angle: NDArray[np.float64]
    darkness: NDArray[np.float64]
    roughness: float = 0.03

    def outlines(self, random: Random) -> Iterator[NDArray[np.float64]]:
        """Yield the corners (x, y) of each nucleus."""
        turn = np.linspace(0, 2 * np.pi, _CORNERS, endpoint=False)
        wobble = 1 + self.roughness * random.standard_normal((len(self.x), _CORNERS))
        # Neighbouring corners move together, which gives bumps instead of spikes.
        wobble = (wobble + np.roll(wobble, 1, axis=1)) / 2
        long = (self.radius * np.sqrt(self.elongation))[:, None] * np.cos(turn) * wobble
        short = (self.radius / np.sqrt(self.elongation))[:, None] * np.sin(turn) * wobble
        cos, sin = np.cos(self.angle)[:, None], np.sin(self.angle)[:, None]
        corners = np.stack([self.x[:, None] + long * cos - short * sin, self.y[:, None] + long * sin + short * cos], 2)
        yield from corners


@dataclass
class Outline:
    """A closed, wavy curve around a centre."""

    x: float
    y: float
    radius: float
    elongation: float
    angle: float
    waves: NDArray[np.float64] = field(repr=False)

    def at(self, turn: NDArray[np.float64], inset: float = 0.0) -> NDArray[np.float64]:
        """Return points (x, y) at angles around the centre, `inset` pixels inside the curve, of shape (angles, 2)."""
        numbers = np.arange(2, 2 + len(self.waves))[:, None]
        wave = 1 + (self.waves[:, :1] * np.cos(numbers * turn + self.waves[:, 1:])).sum(axis=0)
        size = np.maximum(self.radius * wave - inset, 1.0)
        long = size * np.sqrt(self.elongation) * np.cos(turn)
        short = size / np.sqrt(self.elongation) * np.sin(turn)
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        return np.stack([self.x + long * cos - short * sin, self.y + long * sin + short * cos], axis=1)

    def polygon(self, inset: float = 0.0) -> NDArray[np.float64]:
        """Return corners (x, y) of the curve, `inset` pixels inside it."""
        return self.at(np.linspace(0, 2 * np.pi, 72, endpoint=False), inset)


def outline(random: Random, x: float, y: float, radius: float, *, waviness: float, elongation: float) -> Outline:
    """Return a random outline; with `waviness` 0 it is an ellipse."""
    waves = np.stack([random.normal(0, waviness, 4) / np.arange(1, 5), random.uniform(0, 2 * np.pi, 4)], axis=1)
    return Outline(x, y, radius, elongation, float(random.uniform(0, np.pi)), waves)


def scatter_stromal_nuclei(canvas: Canvas, spacing: float) -> None:
    """Add thin dark nuclei of fibroblasts along the fibres, about `spacing` pixels apart."""
    random = canvas.random
    count = int(canvas.width * canvas.height / spacing**2)
    x, y = random.uniform(0, canvas.width, count), random.uniform(0, canvas.height, count)
    angle = canvas.direction[y.astype(int), x.astype(int)] + random.normal(0, 0.25, count)
    canvas.nuclei.append(
        Nuclei(
            x=x,
            y=y,
            radius=random.uniform(1.3, 2.2, count),
            elongation=random.uniform(1.3, 4.5, count),
            angle=angle,
            darkness=random.uniform(0.4, 0.8, count),
        )
    )


def draw_ducts(canvas: Canvas, ducts: Sequence[Outline]) -> None:
    """Draw benign ducts: loose stroma around, a wall of even nuclei in one or two layers, an open lumen."""
    walls = [_wall(duct) for duct in ducts]
    around = canvas.mask([duct.polygon(-wall) for duct, wall in zip(ducts, walls, strict=True)])
    canvas.paint(ndimage.gaussian_filter(around, 3) * 0.45, haematoxylin=0.16, eosin=0.42)
    cells = canvas.mask([duct.polygon() for duct in ducts])
    canvas.paint(cells, haematoxylin=0.38 + 0.04 * canvas.noise(4), eosin=0.42)
    lumen = canvas.mask([duct.polygon(wall) for duct, wall in zip(ducts, walls, strict=True)])
    canvas.paint(lumen, haematoxylin=0.015, eosin=0.03 + np.float32(0.02) * canvas.noise(9).clip(0))
    for duct, wall in zip(ducts, walls, strict=True):
        _line_with_nuclei(canvas, duct, wall)


def _wall(duct: Outline) -> float:
    """Return the thickness of a duct's epithelium."""
    return float(np.clip(duct.radius * 0.3, 6, 11))


def _line_with_nuclei(canvas: Canvas, duct: Outline, wall: float) -> None:
    random = canvas.random
    for depth in (0.24, 0.68) if wall > _TWO_LAYERS else (0.45,):
        inset = depth * wall
        count = max(6, int(2 * np.pi * (duct.radius - inset) / _NUCLEUS_SPACING))
        turn = np.linspace(0, 2 * np.pi, count, endpoint=False) + random.uniform(0, 1)
        turn += random.normal(0, 0.012, count)
        centres = duct.at(turn, inset) + random.normal(0, 0.4, (count, 2))
        canvas.nuclei.append(
            Nuclei(
                x=centres[:, 0],
                y=centres[:, 1],
                radius=random.normal(2.05, 0.12, count),
                elongation=random.normal(1.35, 0.1, count),
                angle=turn + duct.angle,
                darkness=random.normal(0.66, 0.05, count),
            )
        )


def draw_carcinoma(canvas: Canvas, area: Floats) -> None:
    """Draw malignant nests: crowded, large, dark, uneven nuclei in all directions, without lumina.

    Args:
        canvas: The canvas to draw on.
        area: The tumour: values above one half inside, of shape (height, width).
    """
    random = canvas.random
    soft = ndimage.gaussian_filter((area > _EDGE).astype(np.float32), 1.2)
    canvas.paint(soft * 0.85, haematoxylin=0.36 + 0.06 * canvas.noise(5), eosin=0.50 + 0.05 * canvas.noise(12))
    spacing = 5.6
    columns, rows = int(canvas.width / spacing) + 1, int(canvas.height / spacing) + 1
    x, y = (places.ravel().astype(float) * spacing for places in np.meshgrid(np.arange(columns), np.arange(rows)))
    x, y = x + random.normal(0, 2.1, x.size), y + random.normal(0, 2.1, y.size)
    kept = canvas.inside(x, y, area) & (random.random(x.size) < 0.86)  # noqa: PLR2004 (some places stay empty)
    x, y = x[kept], y[kept]
    radius = np.clip(random.lognormal(np.log(2.7), 0.27, x.size), 1.6, 5.6)
    canvas.nuclei.append(
        Nuclei(
            x=x,
            y=y,
            radius=radius,
            elongation=random.uniform(1.0, 1.9, x.size),
            angle=random.uniform(0, np.pi, x.size),
            darkness=np.clip(random.normal(0.70, 0.14, x.size), 0.35, 1),
            roughness=0.16,
        )
    )
