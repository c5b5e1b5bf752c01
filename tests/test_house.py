"""Rules of the house that no other tool keeps."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.apps import apps
from django.core.management import call_command

ROOT = Path(__file__).parents[1]


def test_platform_is_still_pythons_own() -> None:
    code = "import platform; print(platform.system(), platform.__file__)"
    printed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert str(ROOT) not in printed
    assert printed.split()[0] in {"Linux", "Darwin"}
    assert not (ROOT / "platform" / "__init__.py").exists()


@pytest.mark.django_db
def test_no_migration_is_missing() -> None:
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


def test_a_web_server_does_not_load_pytorch() -> None:
    code = """
import importlib, os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "patchvote.config.settings"
for name in ("classifier.imaging.decode", "classifier.grid", "classifier.votes", "patchvote.config.urls"):
    if name.startswith("patchvote"):
        import django; django.setup()
    importlib.import_module(name)
    if "torch" in sys.modules:
        sys.exit(f"{name} loads PyTorch")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_tests_share_code_in_testing_alone() -> None:
    """No test module is imported by another one: pytest imports each by its path, which would make a second copy."""
    shared = re.compile(r"^\s*(from tests\b|import tests\b)", re.MULTILINE)
    assert [str(path) for path in (ROOT / "tests").rglob("*.py") if shared.search(path.read_text())] == []


def test_every_job_has_the_indexes_of_the_ledger() -> None:
    from patchvote.jobs.models import Job

    jobs = [model for model in apps.get_models() if issubclass(model, Job)]
    assert jobs
    for model in jobs:
        names = {index.name for index in model._meta.indexes}
        assert any(name.endswith("_queued") for name in names), model
        assert any(name.endswith("_leases") for name in names), model


@pytest.mark.slow
def test_commands_run_on_a_clean_clone(tmp_path: Path) -> None:
    environment = {**os.environ, "PATCHVOTE_DATA": str(tmp_path / "not" / "yet" / "there")}
    for command in (["makemigrations", "--check", "--dry-run"], ["check"]):
        subprocess.run([sys.executable, "manage.py", *command], cwd=ROOT, env=environment, check=True)


@pytest.mark.parametrize("variables", [{"PATCHVOTE_HTTPS": "1"}, {"PATCHVOTE_HTTPS": "1", "PATCHVOTE_HOST": "0.0.0.0"}])
def test_production_settings_pass_djangos_deployment_check(variables: dict[str, str]) -> None:
    subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        cwd=ROOT, env={**os.environ, **variables}, check=True, capture_output=True,
    )  # fmt: skip
