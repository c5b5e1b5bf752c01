"""What the result page shows of an image: its analyses, and the votes drawn over it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from patchvote.cases.forms import ReviewForm
from patchvote.cases.models import Analysis, Case, Image, Verdict
from patchvote.cases.review.services import other
from patchvote.registry.models import ModelVersion

FINEST_LABELLED_GRID = 12
"""Rows or columns from which on the tiles are too small to write in."""

_FAINTEST, _STRONGEST = 0.18, 0.5
"""Opacity of a tile whose patch was undecided, and of one that was certain: the tissue stays visible below both."""


@dataclass(frozen=True)
class Tile:
    """One patch as it is drawn. Patches overlap, so each colours its own share of the picture; `vote` has its place."""

    vote: dict[str, Any]
    x: int
    y: int
    width: int
    height: int

    @property
    def number(self) -> str:
        """Row and column, counted from one."""
        return f"{self.vote['row'] + 1}-{self.vote['column'] + 1}"

    @property
    def middle(self) -> tuple[int, int]:
        """Where the label goes."""
        return self.x + self.width // 2, self.y + self.height // 2

    @property
    def letters(self) -> int:
        """Height of the label's letters, in the image's pixels."""
        return round(min(self.width, self.height) * 0.22)

    @property
    def percent(self) -> float:
        """Malignant probability."""
        return 100 * float(self.vote["malignant_probability"])

    @property
    def opacity(self) -> str:
        """The surer the patch, the stronger its colour. Text, so that no language writes it with a comma."""
        certainty = abs(self.percent - 50) / 50
        return f"{_FAINTEST + (_STRONGEST - _FAINTEST) * certainty:.2f}"

    @property
    def malignant(self) -> bool:
        """How it voted."""
        return bool(self.vote["vote"] == Verdict.MALIGNANT)


@dataclass(frozen=True)
class Picture:
    """An image as one of its analyses sees it, with all that the page says of it."""

    image: Image
    analysis: Analysis | None
    duplicates: Sequence[Image] = ()
    review_form: ReviewForm | None = None

    @property
    def other_class(self) -> str:
        """What the verdict would be corrected to."""
        return str(other(self.analysis.verdict).label) if self.analysis and self.analysis.verdict else ""

    @property
    def twins(self) -> list[Image]:
        """Equal images of the same case."""
        return [image for image in self.duplicates if image.case_id == self.image.case_id]

    @property
    def other_cases(self) -> list[Case]:
        """Other cases with an equal image, each once."""
        return list(dict.fromkeys(image.case for image in self.duplicates if image.case_id != self.image.case_id))

    @property
    def comparable(self) -> bool:
        """True if there are several verdicts to look at side by side."""
        analyses = [*self.image.earlier, *self.image.current_analyses]
        return sum(bool(analysis.verdict) for analysis in analyses) > 1

    @cached_property
    def tiles(self) -> list[Tile]:
        """A regular tiling of the picture, one tile for each vote."""
        votes = self.analysis.votes if self.analysis else []
        columns, rows = self._grid
        tiles = []
        for vote in votes:
            left, right = (round((vote["column"] + i) * self.image.width / columns) for i in (0, 1))
            top, bottom = (round((vote["row"] + i) * self.image.height / rows) for i in (0, 1))
            tiles.append(Tile(vote, left, top, right - left, bottom - top))
        return tiles

    @property
    def labelled(self) -> bool:
        """True where the tiles are large enough to write in."""
        return max(self._grid) < FINEST_LABELLED_GRID

    @property
    def outline(self) -> int:
        """Width of the line around a patch, in the image's pixels."""
        return max(2, round(max(self.image.width, self.image.height) / 200))

    @property
    def share_percent(self) -> float:
        """Malignant share."""
        return _percent(self.analysis.malignant_share if self.analysis else None)

    @property
    def threshold_percent(self) -> float:
        """Share above which the verdict is malignant."""
        return _percent(self.analysis.threshold if self.analysis else None)

    @property
    def probability_percent(self) -> float:
        """Calibrated malignant probability."""
        return _percent(self.analysis.malignant_probability if self.analysis else None)

    @property
    def outside_training(self) -> bool:
        """True if the model was not made for the case's magnification."""
        if self.analysis is None:
            return False
        known = self.analysis.model_version.magnifications
        return bool(known) and self.image.case.magnification not in known

    @cached_property
    def _grid(self) -> tuple[int, int]:
        votes = self.analysis.votes if self.analysis else []
        columns = max((vote["column"] for vote in votes), default=0) + 1
        rows = max((vote["row"] for vote in votes), default=0) + 1
        return columns, rows


def model_versions(case: Case) -> list[ModelVersion]:
    """Those of the current analyses of a case, each once: several only where images were read at different times."""
    analyses = [image.analysis for image in case.images.all()]
    return list(dict.fromkeys(analysis.model_version for analysis in analyses if analysis))


def _percent(share: float | None) -> float:
    return 100 * (share or 0)
