"""The registry of model versions: register bundles, and look up the champion."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Max
from django.utils.translation import gettext

from classifier import bundle as bundles
from patchvote.accounts import audit
from patchvote.registry.models import Alias, ModelVersion, Origin

if TYPE_CHECKING:
    from patchvote.accounts.models import User

_TRIES = 5


class NoChampionError(RuntimeError):
    """No model version is champion, because none was registered yet."""

    def __init__(self) -> None:
        """Tell the user what to do."""
        super().__init__(
            gettext(
                "There is no champion yet, so nothing can be analysed. "
                "An administrator registers a model with: manage.py register_bundle FOLDER --champion"
            )
        )


def champion() -> ModelVersion:
    """Return the model version that analyses new cases.

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
    """Copy a bundle into the registry as the next version of its name. A known bundle keeps its version.

    Args:
        folder: The folder of the bundle.
        origin: The way in which the bundle came here.
        by: The user who registers it; None for a command on the server.
        tried: True if another process has loaded its network already; this process then does not need PyTorch.

    Raises:
        BundleError: If the bundle is not valid.
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
                    metadata=_stored_metadata(bundle.metadata),
                    origin=origin,
                    created_by=by,
                )
        except IntegrityError:  # another process registered a version at the same time: count again
            if attempt == _TRIES - 1:
                raise
    raise AssertionError("unreachable")


def _stored_metadata(metadata: bundles.BundleMetadata) -> dict[str, Any]:
    """Return the metadata for the database: instead of the seen patients and images, only their numbers."""
    stored = metadata.model_dump(mode="json", exclude={"seen"})
    if metadata.seen is not None:
        stored["seen"] = {"patients": len(metadata.seen.patients), "images": len(metadata.seen.images)}
    return stored
