"""Versions never change; the champion can be moved."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from classifier import bundle
from classifier.bundle import Bundle, BundleError, Seen
from patchvote.registry import promotions, services
from patchvote.registry.models import ModelVersion

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("media")]


@pytest.fixture
def other_bundle(tiny_bundle: Bundle, tmp_path: Path) -> Bundle:
    metadata = tiny_bundle.metadata.model_copy(update={"threshold": 0.7})
    return bundle.save(tmp_path / "other", tiny_bundle.module().state_dict(), metadata)


def test_registering_copies_the_bundle_once(tiny_bundle: Bundle, settings: Any) -> None:
    version = services.register(tiny_bundle.folder)
    assert (version.name, version.version, version.sha256) == ("tiny", 1, tiny_bundle.sha256)
    assert version.bundle().sha256 == tiny_bundle.sha256
    assert Path(settings.MODELS_DIR) in version.folder.parents
    assert services.register(tiny_bundle.folder) == version
    assert ModelVersion.objects.count() == 1


def test_a_lost_copy_is_brought_back(tiny_bundle: Bundle) -> None:
    version = services.register(tiny_bundle.folder)
    shutil.rmtree(version.folder)
    assert services.register(tiny_bundle.folder).bundle().sha256 == tiny_bundle.sha256


def test_versions_count_up_and_the_champion_moves(tiny_bundle: Bundle, other_bundle: Bundle) -> None:
    with pytest.raises(services.NoChampionError):
        services.champion()
    first, second = services.register(tiny_bundle.folder), services.register(other_bundle.folder)
    assert (first.version, second.version) == (1, 2)
    promotions.promote(first)
    assert services.champion() == first
    promotions.promote(second, gate=False)
    assert services.champion() == second
    assert second.is_champion and not first.is_champion


def test_an_unsound_bundle_is_not_registered(tiny_bundle: Bundle, tmp_path: Path, settings: Any) -> None:
    spoilt = bundle.copy(tiny_bundle, tmp_path / "spoilt").folder
    (spoilt / "model.safetensors").write_bytes(b"no")
    with pytest.raises(BundleError):
        services.register(spoilt)
    wrong = bundle.save(
        tmp_path / "wrong",
        tiny_bundle.module().state_dict(),
        tiny_bundle.metadata.model_copy(update={"network": "resnet18"}),
    )
    with pytest.raises(BundleError, match="do not fit"):
        services.register(wrong.folder)
    assert not ModelVersion.objects.exists()
    assert not Path(settings.MODELS_DIR).exists()


def test_what_a_row_says_of_its_training_needs_no_file(tiny_bundle: Bundle, tmp_path: Path) -> None:
    metadata = tiny_bundle.metadata.model_copy(update={"seen": Seen.of(["p1"], ["0" * 64])})
    known = services.register(bundle.save(tmp_path / "seen", tiny_bundle.module().state_dict(), metadata).folder)
    unknown = services.register(tiny_bundle.folder)
    for version in (known, unknown):
        shutil.rmtree(version.folder)
    assert known.seen_known and not unknown.seen_known
    assert unknown.seen is None
    with pytest.raises(BundleError, match="cannot be read"):
        known.seen  # noqa: B018 (reading it is the test)


@pytest.mark.parametrize(("said", "fewest"), [("", "5"), ("12", "12")])
def test_how_many_patients_a_comparison_needs_comes_from_the_environment(said: str, fewest: str) -> None:
    code = "from patchvote.config import settings; print(settings.PROMOTION_FEWEST_PATIENTS)"
    environment = {**os.environ, "PATCHVOTE_PROMOTION_FEWEST_PATIENTS": said}
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == fewest


def test_the_command(tiny_bundle: Bundle, tmp_path: Path, capsys: Any) -> None:
    call_command("register_bundle", str(tiny_bundle.folder), champion=True)
    assert "tiny v1" in capsys.readouterr().out
    assert services.champion().sha256 == tiny_bundle.sha256
    with pytest.raises(CommandError, match="not a bundle"):
        call_command("register_bundle", str(tmp_path))
