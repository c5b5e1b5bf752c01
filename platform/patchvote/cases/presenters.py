"""Presenters of the result page: an image with one of its analyses, and the votes drawn over it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from patchvote.cases.forms import ReviewForm
from patchvote.cases.models import Analysis, Case, Image, Verdict, other_class
from patchvote.registry.models import ModelVersion

FINEST_LABELLED_GRID = 12
"""The number of rows or columns from which the tiles are too small for a label."""

_FAINTEST, _STRONGEST = 0.18, 0.5
"""The opacity of a tile with probability 0.5, and with probability 0 or 1; the tissue stays visible below both."""


@dataclass(frozen=True)
class Tile:
    """The rectangle that shows one vote. Patches overlap, tiles do not; `vote` has the position of the patch itself."""

    vote: dict[str, Any]
    x: int
    y: int
    width: int
    height: int

    @property
    def number(self) -> str:
        """The row and column, counted from 1."""
        return f"{self.vote['row'] + 1}-{self.vote['column'] + 1}"

    @property
    def middle(self) -> tuple[int, int]:
        """The position of the label."""
        return self.x + self.width // 2, self.y + self.height // 2

    @property
    def letters(self) -> int:
        """The font size of the label, in pixels of the image."""
        return round(min(self.width, self.height) * 0.22)

    @property
    def percent(self) -> float:
        """The malignant probability in percent."""
        return 100 * float(self.vote["malignant_probability"])

    @property
    def opacity(self) -> str:
        """The opacity, which grows with the certainty of the vote. A string, so that it is not localised."""
        certainty = abs(self.percent - 50) / 50
        return f"{_FAINTEST + (_STRONGEST - _FAINTEST) * certainty:.2f}"

    @property
    def malignant(self) -> bool:
        """Whether the patch voted malignant."""
        return bool(self.vote["vote"] == Verdict.MALIGNANT)


@dataclass(frozen=True)
class ImagePresenter:
    """An image with one of its analyses, prepared for the templates.

    Attributes:
        image: The image.
        analysis: The analysis that is shown; None if there is none.
        duplicates: Images with equal pixels that the user may see.
        review_form: The form for reviewers; None for other users and while the case is being analysed.
    """

    image: Image
    analysis: Analysis | None
    duplicates: Sequence[Image] = ()
    review_form: ReviewForm | None = None

    @property
    def other_class(self) -> str:
        """The name of the class that a correction of the verdict would give."""
        return str(other_class(self.analysis.verdict).label) if self.analysis and self.analysis.verdict else ""

    @property
    def duplicates_in_case(self) -> list[Image]:
        """The equal images of the same case."""
        return [image for image in self.duplicates if image.case_id == self.image.case_id]

    @property
    def other_cases(self) -> list[Case]:
        """The other cases with an equal image, each once."""
        return list(dict.fromkeys(image.case for image in self.duplicates if image.case_id != self.image.case_id))

    @property
    def comparable(self) -> bool:
        """Whether the image has more than one analysis with a verdict."""
        analyses = [*self.image.earlier, *self.image.current_analyses]
        return sum(bool(analysis.verdict) for analysis in analyses) > 1

    @cached_property
    def tiles(self) -> list[Tile]:
        """A regular tiling of the image, one tile per vote."""
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
        """Whether the tiles are large enough for labels."""
        return max(self._grid) < FINEST_LABELLED_GRID

    @property
    def outline(self) -> int:
        """The width of the line around a patch, in pixels of the image."""
        return max(2, round(max(self.image.width, self.image.height) / 200))

    @property
    def share_percent(self) -> float:
        """The malignant share in percent."""
        return _percent(self.analysis.malignant_share if self.analysis else None)

    @property
    def threshold_percent(self) -> float:
        """The threshold of the malignant share in percent."""
        return _percent(self.analysis.threshold if self.analysis else None)

    @property
    def probability_percent(self) -> float:
        """The calibrated malignant probability in percent."""
        return _percent(self.analysis.malignant_probability if self.analysis else None)

    @property
    def outside_training(self) -> bool:
        """Whether the model version was not trained for the case's magnification."""
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
    """Return the model versions of a case's current analyses, each once."""
    analyses = [image.analysis for image in case.all_images]
    return list(dict.fromkeys(analysis.model_version for analysis in analyses if analysis))


def _percent(share: float | None) -> float:
    return 100 * (share or 0)
