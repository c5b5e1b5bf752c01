"""The gate before a promotion: what a comparison must show, and what only a reason can outweigh."""

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
"""Characters of a reason that is worth being called one."""

_ROUNDING = 1e-9
"""0.98 - 1.0 is a little less than -0.02 in floating point."""


class ReportedDifference(BaseModel):
    """Candidate minus champion, with its 95 % interval."""

    model_config = ConfigDict(frozen=True)

    value: float
    low: float
    high: float

    def points(self) -> dict[str, str]:
        """The three in percentage points, for a sentence."""
        return {name: f"{100 * number:+.1f}" for name, number in self}


class Evidence(BaseModel):
    """What a comparison of a candidate with the champion showed, on images of patients that neither was trained on.

    It is kept with the promotion: `model_dump(mode="json")` and `model_validate` are its way to JSON and back.

    Attributes:
        comparison: The comparison's id.
        champion: SHA-256 of the bundle that served then.
        candidate: SHA-256 of the bundle that was compared with it.
        images: How many were compared.
        patients: Whose they are.
        benign: How many of the images are benign.
        malignant: How many are malignant.
        sensitivity: None where no image is malignant.
        specificity: None where no image is benign.
        balanced_accuracy: None where a class is missing.
        champion_seen_known: Whether it is known what the champion was trained on.
        candidate_seen_known: Whether it is known what the candidate was trained on.
        synthetic: Whether any of the images is synthetic.
        notes: Sentences that go with it.
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
        """Take it from a comparison's result.

        Args:
            result: Of a `trainer.worker` order of kind `compare`.
            comparison: Its id.
            champion: That served then.
            candidate: That was compared with it.
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
    """What the gate says.

    Attributes:
        allowed: May be promoted as it is.
        code: `allowed`, `first`, or the gravest of what stands against it.
        sentence: All that stands against it, or that nothing does.
        needs_reason: Not allowed as it is, but with a reason.
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
    """Say whether a version may serve instead of the champion.

    Args:
        candidate: What shall serve.
        evidence: Its comparison with the champion, if there is one.
        champion: What serves now.
        margin: How much sensitivity may be lost; the setting `PROMOTION_SENSITIVITY_LOSS` when None.
        fewest_patients: That a comparison needs; the setting `PROMOTION_FEWEST_PATIENTS` when None.
    """
    if champion is None:
        return GateDecision(True, "first", _("No model serves yet: this one may."))
    if candidate == champion:
        return GateDecision(False, "already_champion", _("%(model)s serves already.") % {"model": candidate})
    margin = settings.PROMOTION_SENSITIVITY_LOSS if margin is None else margin
    fewest = settings.PROMOTION_FEWEST_PATIENTS if fewest_patients is None else fewest_patients
    against = [*_against(evidence, candidate, champion, margin, fewest)]
    if candidate.synthetic:
        against.append(("synthetic", _("It was trained on synthetic images: its verdicts on tissue mean nothing.")))
    if against:
        return GateDecision(False, against[0][0], " ".join(sentence for _code, sentence in against), needs_reason=True)
    sentence = _("The comparison speaks for nothing against it.")
    if candidate.seen_claimed:
        claim = _("Which images it was trained on is what its sender says: it cannot be checked here.")
        sentence = f"{sentence} {claim}"
    return GateDecision(True, "allowed", sentence)


def _against(
    evidence: Evidence | None, candidate: ModelVersion, champion: ModelVersion, margin: float, fewest: int
) -> Iterator[tuple[str, str]]:
    """What a comparison, or its absence, has against the candidate; the gravest first."""
    if evidence is None or evidence.candidate != candidate.sha256:
        yield "not_compared", _("It was not compared with the champion, %(champion)s.") % {"champion": champion}
        return
    if evidence.champion != champion.sha256:
        yield (
            "not_compared",
            _("It was compared with a model that serves no more. Compare it with %(champion)s.")
            % {"champion": champion},
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
            _("It is not known what it was trained on: images of the comparison may be among that, in its favour."),
        )
