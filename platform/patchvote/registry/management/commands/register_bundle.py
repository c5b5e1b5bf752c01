"""`manage.py register_bundle FOLDER [--champion]`."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from classifier.bundle import BundleError
from patchvote.registry import promotions, services


class Command(BaseCommand):
    """The command that registers a bundle."""

    help = "Copy a bundle into the registry as a model version."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("folder", help="the bundle: a folder with model.safetensors and metadata.json")
        parser.add_argument("--champion", action="store_true", help="let it serve new cases")

    def handle(self, *args: Any, folder: str, champion: bool, **options: Any) -> None:
        try:
            version = services.register(folder)
            if champion:
                promotions.promote(version, gate=False)
        except (BundleError, promotions.PromotionRefusedError) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(
            f"{version} ({version.sha256[:12]}) in {settings.DATA_DIR}{': serves new cases' if champion else ''}"
        )
