"""Registering bundles, and choosing the champion: promotion and the way back."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.files.base import File
from django.core.files.storage import FileSystemStorage
from django.db import IntegrityError, transaction
from django.db.models import Max
from django.utils.translation import gettext

from classifier import bundle as bundles
from patchvote.accounts import audit
from patchvote.jobs.signals import wake_up
from patchvote.registry.gate import SHORTEST_REASON, Evidence, GateDecision, decide
from patchvote.registry.models import Alias, BundleUpload, ModelVersion, Origin, Promotion

if TYPE_CHECKING:
    from patchvote.accounts.models import User

logger = logging.getLogger(__name__)

_TRIES = 5


class NoChampionError(RuntimeError):
    """No model version serves: none was registered yet."""

    def __init__(self) -> None:
        """Say what to do."""
        super().__init__(
            gettext(
                "No model serves yet, so nothing can be analysed. "
                "An administrator registers one with: manage.py register_bundle FOLDER --champion"
            )
        )


class PromotionRefusedError(ValueError):
    """The gate, or the state of the bundle, stands against a promotion or a rollback."""

    def __init__(self, decision: GateDecision) -> None:
        """Keep what the gate said."""
        super().__init__(decision.sentence)
        self.decision = decision

    @property
    def code(self) -> str:
        """Of the decision."""
        return self.decision.code


def champion() -> ModelVersion:
    """The version that serves new cases.

    Raises:
        NoChampionError: If there is none.
    """
    alias = Alias.objects.select_related("model_version").filter(name=Alias.CHAMPION).first()
    if alias is None:
        raise NoChampionError
    return alias.model_version


def register(
    folder: str | Path,
    *,
    origin: Origin = Origin.COMMAND,
    by: User | None = None,
    tried: bool = False,
) -> ModelVersion:
    """Copy a bundle into the registry as the next version of its name; the same bundle again is the same version.

    Args:
        folder: Of the bundle.
        origin: How it came here.
        by: Who brought it; None for a command on the server.
        tried: True if its network was loaded already, elsewhere: this process then needs no PyTorch.

    Raises:
        BundleError: If it is not a sound bundle.
    """
    bundle = bundles.Bundle.load(folder)
    known = ModelVersion.objects.filter(sha256=bundle.sha256).first()
    if known and known.folder.exists():
        return known
    if not tried:
        bundle.module()  # weights that do not fit their network must not be registered
    bundles.copy(bundle, Path(settings.MODELS_DIR) / bundle.sha256)
    for attempt in range(_TRIES):
        known = ModelVersion.objects.filter(sha256=bundle.sha256).first()
        if known:
            return known
        latest = ModelVersion.objects.filter(name=bundle.metadata.name).aggregate(latest=Max("version"))["latest"] or 0
        try:
            with transaction.atomic(), audit.acting(by):
                return ModelVersion.objects.create(
                    name=bundle.metadata.name,
                    version=latest + 1,
                    sha256=bundle.sha256,
                    metadata=_kept(bundle.metadata),
                    origin=origin,
                    created_by=by,
                )
        except IntegrityError:  # another process registered at the same moment: count again
            if attempt == _TRIES - 1:
                raise
    raise AssertionError("unreachable")


def _kept(metadata: bundles.BundleMetadata) -> dict[str, Any]:
    """The metadata as it is kept in the database: of what the model has seen, the numbers."""
    kept = metadata.model_dump(mode="json", exclude={"seen"})
    if metadata.seen is not None:
        kept["seen"] = {"patients": len(metadata.seen.patients), "images": len(metadata.seen.images)}
    return kept


# --- the champion -----------------------------------------------------------------------------------------------------


def promote(
    version: ModelVersion,
    *,
    by: User | None = None,
    reason: str = "",
    evidence: Evidence | None = None,
    instead_of: ModelVersion | None = None,
    gate: bool = True,
) -> None:
    """Let a version serve new cases from now on; running and past analyses keep theirs.

    Args:
        version: What shall serve.
        by: Who wants it; None for a command on the server.
        reason: Outweighs what the gate has against it, if it allows that.
        evidence: The comparison with the champion.
        instead_of: The champion that the person saw; refused if another one serves meanwhile.
        gate: False for what the server itself or a command on it does: there is a row, but nothing is judged.

    Raises:
        PromotionRefusedError: If the gate stands against it, the bundle's files are not sound, or the champion is
            another.
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
        _move(alias, version)
        _add_step(
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
    """The version that served before the champion did; None where there is none.

    Every promotion puts a version onto a pile and every rollback takes one off: going back never leads forward again.
    """
    pile: list[Any] = []
    for kind, version_id in Promotion.objects.order_by("pk").values_list("kind", "version"):
        if kind == Promotion.Kind.PROMOTE:
            pile.append(version_id)
        elif pile:
            pile.pop()
    return ModelVersion.objects.filter(pk=pile[-2]).first() if len(pile) > 1 else None


def rollback(*, by: User | None, reason: str = "", leaving: ModelVersion | None = None) -> ModelVersion:
    """Let the version serve again that served before the champion.

    Args:
        by: Who wants it; None for a command on the server.
        reason: Why, if somebody says so.
        leaving: The champion that the person saw; refused if another one serves meanwhile, so that a second click does
            not go a second step.

    Returns:
        The version that serves now.

    Raises:
        PromotionRefusedError: If there is nothing to go back to, its files are not sound, or the champion is another.
    """
    with transaction.atomic():
        alias = Alias.objects.select_for_update().filter(name=Alias.CHAMPION).first()
        _check_champion(alias.model_version if alias else None, leaving)
        target = rollback_target()
        if alias is None or target is None:
            raise PromotionRefusedError(
                GateDecision(
                    False, "nothing_to_roll_back", gettext("There is nothing to go back to: no other model has served.")
                )
            )
        _check_files(target)
        previous = alias.model_version
        _move(alias, target)
        _add_step(
            Promotion(kind=Promotion.Kind.ROLLBACK, version=target, previous=previous, by=by, reason=reason.strip())
        )
    return target


def _locked_alias(version: ModelVersion) -> tuple[Alias, ModelVersion | None]:
    """The champion's alias, kept for this transaction, and what it names; made where it is not there."""
    alias, made = Alias.objects.get_or_create(name=Alias.CHAMPION, defaults={"model_version": version})
    if made:
        return alias, None
    # Not joined with the version: after a wait PostgreSQL would look for the new row beside the old version.
    alias = Alias.objects.select_for_update().get(pk=alias.pk)
    return alias, alias.model_version


def _check_champion(serving: ModelVersion | None, expected: ModelVersion | None) -> None:
    """Refuse what was decided on the sight of another champion."""
    if expected is None or serving == expected:
        return
    sentence = gettext(
        "%(model)s does not serve any more, %(champion)s does: somebody was faster, or the button was pressed twice. "
        "Nothing was changed."
    ) % {"model": expected, "champion": serving or gettext("none")}
    raise PromotionRefusedError(GateDecision(False, "champion_changed", sentence))


def _move(alias: Alias, version: ModelVersion) -> None:
    alias.model_version = version
    alias.save()


def _add_step(step: Promotion) -> None:
    with audit.acting(step.by):
        step.save(force_insert=True)
    logger.info("%s %s, by %s", step.kind, step.version, step.by_id or "the server")


def _with_advice(decision: GateDecision) -> GateDecision:
    advice = gettext("To promote it all the same, give a reason of at least %(n)d characters.") % {"n": SHORTEST_REASON}
    return GateDecision(False, decision.code, f"{decision.sentence} {advice}", needs_reason=True)


def _check_files(version: ModelVersion) -> None:
    try:
        version.bundle()
    except bundles.BundleError as error:
        logger.exception("the bundle of %s", version)
        sentence = gettext("The files of %(model)s are gone or were changed: it cannot serve.") % {"model": version}
        raise PromotionRefusedError(GateDecision(False, "bundle_unsound", sentence)) from error


# --- uploads ----------------------------------------------------------------------------------------------------------


def upload(file: File[bytes], *, by: User) -> BundleUpload:
    """Store a bundle that a person sent, and queue it to be tried.

    Args:
        file: One zip; refused at once where its list of names shows that it is no bundle.
        by: Who sent it.

    Raises:
        BundleError: If it cannot be a bundle. Nothing was stored.
    """
    bundles.check(file, max_bytes=settings.BUNDLE_MAX_BYTES)
    file.seek(0)
    sent = BundleUpload(filename=Path(file.name or "").name[-255:], created_by=by)
    try:
        # A large upload lies in a file already: it is moved, not copied.
        FileSystemStorage(sent.folder).save(sent.archive.name, file)
        with transaction.atomic():
            sent.save(force_insert=True)
            transaction.on_commit(_wake_workers, robust=True)
    except BaseException:
        forget_upload(sent)
        raise
    return sent


def sentence(error: bundles.BundleError) -> str:
    """What is wrong with a bundle, in the language of the moment."""
    return gettext(error.template) % error.values if error.values else gettext(error.template)


def accept_upload(upload: BundleUpload, folder: str | Path, result: dict[str, Any]) -> dict[str, Any]:
    """Register an uploaded bundle that a process of its own has unpacked and tried.

    Args:
        upload: The job.
        folder: Where the bundle was unpacked.
        result: What the process said of it; has the `sha256` of what was tried.

    Returns:
        The job's fields, for the ledger to store.

    Raises:
        BundleError: If the folder does not hold what was tried.
    """
    if bundles.Bundle.load(folder).sha256 != result["sha256"]:
        raise bundles.BundleError("The bundle is not the one that was tried.")
    version = register(folder, origin=Origin.UPLOAD, by=upload.created_by, tried=True)
    return {"model_version": version}


def forget_upload(upload: BundleUpload) -> None:
    """Remove an upload's files: of what was accepted the registry has a copy."""
    shutil.rmtree(upload.folder, ignore_errors=True)


def _wake_workers() -> None:
    wake_up.send(sender=BundleUpload)
