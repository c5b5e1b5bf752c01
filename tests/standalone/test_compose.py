"""The compose file, as far as it can be checked without Docker."""

import re
from typing import Any

import pytest
import yaml

from patchvote.standalone import processes
from testing.paths import ROOT


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def test_every_process_has_its_service(compose: dict[str, Any]) -> None:
    served = {
        match[1]
        for service in compose["services"].values()
        if (match := re.fullmatch(r"python manage\.py serve (\w+)", str(service.get("command"))))
    }
    assert served == set(processes.COMMANDS)
    assert compose["services"]["setup"]["command"] == "python manage.py setup"


def test_what_a_service_waits_for_is_there(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for name, how in service.get("depends_on", {}).items():
            other = compose["services"][name]
            if how["condition"] == "service_healthy":
                assert "healthcheck" in other
            elif how["condition"] == "service_completed_successfully":
                assert other["restart"] == "no"
        for volume in service.get("volumes", []):
            assert volume.split(":")[0] in compose["volumes"]


def test_every_variable_that_containers_get_is_one_that_is_read(compose: dict[str, Any]) -> None:
    read = (ROOT / "platform/patchvote/config/settings.py").read_text() + (
        ROOT / "platform/patchvote/standalone/setup.py"
    ).read_text()
    for name in compose["services"]["web"]["environment"]:
        assert f'"{name}"' in read, name


def test_the_image_installs_the_pinned_requirements() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert "pip install -r requirements.txt" in dockerfile
    assert "USER patchvote" in dockerfile
