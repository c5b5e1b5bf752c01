"""Changing the champion: promotion and rollback. Each change is a row that is never changed."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.utils.translation import gettext

from classifier.bundle import BundleError
from patchvote.accounts import audit
from patchvote.registry.gate import SHORTEST_REASON, Evidence, GateDecision, decide
from patchvote.registry.models import Alias, ModelVersion, Promotion

if TYPE_CHECKING:
    from patchvote.accounts.models import User

logger = logging.getLogger(__name__)


class PromotionRefusedError(ValueError):
    """The refusal of a promotion or rollback, by the gate or because of the bundle's files."""

    def __init__(self, decision: GateDecision) -> None:
        """Store the decision."""
        super().__init__(decision.sentence)
        self.decision = decision

    @property
    def code(self) -> str:
        """The code of the decision."""
        return self.decision.code


def promote(
    version: ModelVersion,
    *,
    by: User | None = None,
    reason: str = "",
    evidence: Evidence | None = None,
    instead_of: ModelVersion | None = None,
    gate: bool = True,
) -> None:
    """Make a version the champion, which analyses new cases; existing analyses keep their version.

    Args:
        version: The new champion.
        by: The user who promotes; None for a command on the server.
        reason: Overrides the gate's objections, where the gate allows that.
        evidence: The comparison with the current champion.
        instead_of: The champion that the user saw; the promotion is refused if another version is champion by now.
        gate: False for promotions by the server itself or by its commands: they are recorded but not checked.

    Raises:
        PromotionRefusedError: If the gate refuses, the bundle's files are not valid, or the champion has changed.
    """
    _check_files(version)
    reason = reason.strip()
    with transaction.atomic():
        alias, previous = _locked_alias(version)
        _check_champion(previous, instead_of)
        if not gate and previous == version:
            return
        decision = decide(version, evidence, champion=previous)
        overridden = gate and not decision.allowed
        if overridden and not decision.needs_reason:
            raise PromotionRefusedError(decision)
        if overridden and len(reason) < SHORTEST_REASON:
            raise PromotionRefusedError(_with_advice(decision))
        _set_champion(alias, version)
        _record(
            Promotion(
                version=version,
                previous=previous,
                by=by,
                reason=reason,
                overridden=overridden,
                evidence=evidence.model_dump(mode="json") if evidence else None,
            )
        )


def rollback_target() -> ModelVersion | None:
    """Return the version that was champion before the current one; None if there is none.

    The champions form a stack: a promotion pushes a version, a rollback pops one. Repeated rollbacks therefore go
    further back and never forward.
    """
    stack: list[Any] = []
    for kind, version_id in Promotion.objects.order_by("pk").values_list("kind", "version"):
        if kind == Promotion.Kind.PROMOTE:
            stack.append(version_id)
        elif stack:
            stack.pop()
    return ModelVersion.objects.filter(pk=stack[-2]).first() if len(stack) > 1 else None


def roll_back(*, by: User | None, reason: str = "", leaving: ModelVersion | None = None) -> ModelVersion:
    """Make the previous champion the champion again.

    Args:
        by: The user who rolls back; None for a command on the server.
        reason: An optional reason, for the audit log.
        leaving: The champion that the user saw. The rollback is refused if another version is champion by now, so that
            a second click does not roll back twice.

    Returns:
        The new champion.

    Raises:
        PromotionRefusedError: If there is no previous champion, its files are not valid, or the champion has changed.
    """
    with transaction.atomic():
        alias = Alias.objects.select_for_update().filter(name=Alias.CHAMPION).first()
        _check_champion(alias.model_version if alias else None, leaving)
        target = rollback_target()
        if alias is None or target is None:
            raise PromotionRefusedError(
                GateDecision(False, "nothing_to_roll_back", gettext("There is no previous champion to roll back to."))
            )
        _check_files(target)
        previous = alias.model_version
        _set_champion(alias, target)
        _record(
            Promotion(kind=Promotion.Kind.ROLLBACK, version=target, previous=previous, by=by, reason=reason.strip())
        )
    return target


def _locked_alias(version: ModelVersion) -> tuple[Alias, ModelVersion | None]:
    """Lock the champion's alias for this transaction, and create it if it is missing.

    Returns:
        The alias and the current champion; None if the alias was missing.
    """
    alias, created = Alias.objects.get_or_create(name=Alias.CHAMPION, defaults={"model_version": version})
    if created:
        return alias, None
    # No join with the version: after waiting for the lock, PostgreSQL would join the new row with the old version.
    alias = Alias.objects.select_for_update().get(pk=alias.pk)
    return alias, alias.model_version


def _check_champion(serving: ModelVersion | None, expected: ModelVersion | None) -> None:
    """Refuse a change that the user decided on while another version was champion."""
    if expected is None or serving == expected:
        return
    sentence = gettext(
        "%(model)s is no longer the champion; the current champion: %(champion)s. Another user changed it, or the "
        "button was pressed twice. Nothing was changed."
    ) % {"model": expected, "champion": serving or gettext("none")}
    raise PromotionRefusedError(GateDecision(False, "champion_changed", sentence))


def _set_champion(alias: Alias, version: ModelVersion) -> None:
    alias.model_version = version
    alias.save()


def _record(promotion: Promotion) -> None:
    with audit.acting(promotion.by):
        promotion.save(force_insert=True)
    logger.info("%s %s, by %s", promotion.kind, promotion.version, promotion.by_id or "the server")


def _with_advice(decision: GateDecision) -> GateDecision:
    advice = gettext("To promote it anyway, give a reason of at least %(n)d characters.") % {"n": SHORTEST_REASON}
    return GateDecision(False, decision.code, f"{decision.sentence} {advice}", needs_reason=True)


def _check_files(version: ModelVersion) -> None:
    try:
        version.bundle()
    except BundleError as error:
        logger.exception("the bundle of %s is not valid", version)
        sentence = gettext("The files of %(model)s are missing or were changed: it cannot become champion.") % {
            "model": version
        }
        raise PromotionRefusedError(GateDecision(False, "bundle_unsound", sentence)) from error
