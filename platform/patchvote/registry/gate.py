"""The gate: the rules that allow a promotion, require a reason for it, or refuse it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from django.conf import settings
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from pydantic import BaseModel, ConfigDict, Field

from patchvote.registry.models import ModelVersion

SHORTEST_REASON = 10
"""Minimum number of characters of a reason."""

_ROUNDING = 1e-9
"""Tolerance for floating point: 0.98 - 1.0 is slightly less than -0.02."""


class ReportedDifference(BaseModel):
    """The difference of a metric, candidate minus champion, with its 95 % interval."""

    model_config = ConfigDict(frozen=True)

    value: float
    low: float
    high: float

    def points(self) -> dict[str, str]:
        """Return the three numbers in percentage points, formatted for a sentence."""
        return {name: f"{100 * number:+.1f}" for name, number in self}


class Evidence(BaseModel):
    """The result of a comparison of candidate and champion on images of patients that neither was trained on.

    The promotion stores it as JSON: `model_dump(mode="json")` writes it, `model_validate` reads it.

    Attributes:
        comparison: The id of the comparison.
        champion: The SHA-256 of the champion's bundle at that time.
        candidate: The SHA-256 of the candidate's bundle.
        images: The number of compared images.
        patients: The number of patients of these images.
        benign: The number of benign images.
        malignant: The number of malignant images.
        sensitivity: The difference in sensitivity; None if no image is malignant.
        specificity: The difference in specificity; None if no image is benign.
        balanced_accuracy: The difference in balanced accuracy; None if a class is missing.
        champion_seen_known: Whether the champion's training images are known.
        candidate_seen_known: Whether the candidate's training images are known.
        synthetic: Whether any of the images is synthetic.
        notes: Sentences about images that were left out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    comparison: str
    champion: str
    candidate: str
    images: int = Field(ge=0)
    patients: int = Field(ge=0)
    benign: int = Field(ge=0)
    malignant: int = Field(ge=0)
    sensitivity: ReportedDifference | None = None
    specificity: ReportedDifference | None = None
    balanced_accuracy: ReportedDifference | None = None
    champion_seen_known: bool = True
    candidate_seen_known: bool = True
    synthetic: bool = False
    notes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, result: Mapping[str, Any], *, comparison: Any, champion: ModelVersion, candidate: ModelVersion, **rest: Any
    ) -> Self:
        """Create the evidence from the result of a comparison.

        Args:
            result: The result of a `trainer.worker` order of kind `compare`.
            comparison: The id of the comparison.
            champion: The champion at that time.
            candidate: The version that was compared with it.
            rest: `champion_seen_known`, `candidate_seen_known`, `synthetic`, `notes`.
        """
        differences = {row["measure"]: row["difference"] for row in result.get("measures", [])}
        return cls(
            comparison=str(comparison),
            champion=champion.sha256,
            candidate=candidate.sha256,
            **{name: result[name] for name in ("images", "patients", "benign", "malignant")},
            **{name: differences.get(name) for name in ("sensitivity", "specificity", "balanced_accuracy")},
            **rest,
        )


@dataclass(frozen=True)
class GateDecision:
    """The gate's decision about a promotion.

    Attributes:
        allowed: Whether the candidate may be promoted without a reason.
        code: `allowed`, `first`, or the code of the gravest objection.
        sentence: All objections, or that there is none.
        needs_reason: Whether a reason overrides the objections.
    """

    allowed: bool
    code: str
    sentence: str
    needs_reason: bool = False


def decide(
    candidate: ModelVersion,
    evidence: Evidence | None,
    *,
    champion: ModelVersion | None,
    margin: float | None = None,
    fewest_patients: int | None = None,
) -> GateDecision:
    """Decide whether a version may replace the champion.

    Args:
        candidate: The version to promote.
        evidence: The comparison of candidate and champion, if there is one.
        champion: The current champion; None if there is none.
        margin: The largest acceptable loss of sensitivity; the setting `PROMOTION_SENSITIVITY_LOSS` if None.
        fewest_patients: The minimum number of patients; the setting `PROMOTION_FEWEST_PATIENTS` if None.
    """
    if champion is None:
        return GateDecision(True, "first", _("There is no champion yet: this version may be promoted."))
    if candidate == champion:
        return GateDecision(False, "already_champion", _("%(model)s is the champion already.") % {"model": candidate})
    margin = settings.PROMOTION_SENSITIVITY_LOSS if margin is None else margin
    fewest = settings.PROMOTION_FEWEST_PATIENTS if fewest_patients is None else fewest_patients
    objections = [*_objections(evidence, candidate, champion, margin, fewest)]
    if candidate.synthetic:
        objections.append(("synthetic", _("It was trained on synthetic images: its verdicts on tissue mean nothing.")))
    if objections:
        sentences = " ".join(sentence for _code, sentence in objections)
        return GateDecision(False, objections[0][0], sentences, needs_reason=True)
    sentence = _("The comparison shows no objection.")
    if candidate.seen_claimed:
        claim = _("Its training images are as claimed by the uploader: this cannot be checked here.")
        sentence = f"{sentence} {claim}"
    return GateDecision(True, "allowed", sentence)


def _objections(
    evidence: Evidence | None, candidate: ModelVersion, champion: ModelVersion, margin: float, fewest: int
) -> Iterator[tuple[str, str]]:
    """Yield the code and sentence of each objection that the comparison, or its absence, raises; the gravest first."""
    if evidence is None or evidence.candidate != candidate.sha256:
        yield "not_compared", _("It was not compared with the champion, %(champion)s.") % {"champion": champion}
        return
    if evidence.champion != champion.sha256:
        yield (
            "not_compared",
            _("It was compared with a former champion. Compare it with %(champion)s.") % {"champion": champion},
        )
        return
    if not evidence.images:
        yield (
            "no_unseen_images",
            _("There is no image of a patient that neither model was trained on, so nothing could be compared."),
        )
        return
    if evidence.synthetic:
        yield "synthetic_images", _("The images of the comparison are synthetic: they say nothing about tissue.")
    lost = evidence.sensitivity
    if lost is not None and lost.value < -margin - _ROUNDING:
        yield (
            "less_sensitive",
            _(
                "It finds fewer of the malignant images: its sensitivity differs by %(value)s percentage points "
                "(95 %% interval %(low)s to %(high)s), and at most %(allowed).1f may be lost."
            )
            % {**lost.points(), "allowed": 100 * margin},
        )
    if evidence.patients < fewest:
        yield (
            "too_few_patients",
            ngettext(
                "The comparison has images of %(n)d patient only; it needs %(fewest)d to say much.",
                "The comparison has images of %(n)d patients only; it needs %(fewest)d to say much.",
                evidence.patients,
            )
            % {"n": evidence.patients, "fewest": fewest},
        )
    if not evidence.benign or not evidence.malignant:
        yield "too_few_patients", _("The comparison has images of one class only.")
    if not evidence.candidate_seen_known:
        yield (
            "seen_unknown",
            _(
                "It is not known what it was trained on: it may have been trained on images of the comparison, which "
                "would favour it."
            ),
        )
