"""Registering bundles and choosing the champion."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Max
from django.utils.translation import gettext

from classifier import bundle as bundles
from patchvote.registry.models import Alias, ModelVersion

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


def champion() -> ModelVersion:
    """The version that serves new cases.

    Raises:
        NoChampionError: If there is none.
    """
    alias = Alias.objects.select_related("model_version").filter(name=Alias.CHAMPION).first()
    if alias is None:
        raise NoChampionError
    return alias.model_version


def register(folder: str | Path) -> ModelVersion:
    """Copy a bundle into the registry as the next version of its name; the same bundle again is the same version.

    Raises:
        BundleError: If it is not a sound bundle.
    """
    bundle = bundles.Bundle.load(folder)
    known = ModelVersion.objects.filter(sha256=bundle.sha256).first()
    if known and known.folder.exists():
        return known
    bundle.module()  # weights that do not fit their network must not be registered
    bundles.copy(bundle, Path(settings.MODELS_DIR) / bundle.sha256)
    for attempt in range(_TRIES):
        known = ModelVersion.objects.filter(sha256=bundle.sha256).first()
        if known:
            return known
        latest = ModelVersion.objects.filter(name=bundle.metadata.name).aggregate(latest=Max("version"))["latest"] or 0
        try:
            with transaction.atomic():
                return ModelVersion.objects.create(
                    name=bundle.metadata.name,
                    version=latest + 1,
                    sha256=bundle.sha256,
                    metadata=bundle.metadata.model_dump(mode="json"),
                )
        except IntegrityError:  # another process registered at the same moment: count again
            if attempt == _TRIES - 1:
                raise
    raise AssertionError("unreachable")


def promote(version: ModelVersion) -> None:
    """Let a version serve new cases from now on; running and past analyses keep theirs."""
    Alias.objects.update_or_create(name=Alias.CHAMPION, defaults={"model_version": version})
