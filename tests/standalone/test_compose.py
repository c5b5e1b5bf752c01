"""The compose file and the Dockerfile agree with the processes and the settings, as far as shows without Docker."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from typing import Any

import pytest
import yaml
from django.core.management import get_commands, load_command_class
from packaging.specifiers import SpecifierSet

from patchvote.standalone import processes
from testing.paths import ROOT

PLATFORM = {"setup", *processes.COMMANDS}
"""The services that run the image of Patchvote."""


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return compose()["services"]


def compose() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def instructions() -> list[tuple[str, str]]:
    """Return the instructions of the Dockerfile with their arguments, continued lines joined."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    parts = [line.partition(" ") for line in joined.splitlines() if line]
    return [(name, " ".join(rest.split())) for name, _, rest in parts]


def image_environment() -> dict[str, str]:
    """Return the environment that the image gives to every process."""
    words = [word for name, rest in instructions() if name == "ENV" for word in shlex.split(rest)]
    return dict(word.split("=", 1) for word in words)


def arguments(service: dict[str, Any]) -> list[str]:
    """Return what a service passes to manage.py."""
    python, script, *rest = shlex.split(service["command"])
    assert (python, script) == ("python", "manage.py")
    return rest


def test_every_process_has_its_service(services: dict[str, Any]) -> None:
    ours = {name: service for name, service in services.items() if service.get("image") == "patchvote"}
    assert ours.keys() == PLATFORM
    assert {name: arguments(service) for name, service in ours.items()} == {
        "setup": ["setup"],
        **{name: ["serve", name] for name in processes.COMMANDS},
    }


@pytest.mark.parametrize("name", sorted(PLATFORM))
def test_every_command_is_one_that_manage_py_accepts(services: dict[str, Any], name: str) -> None:
    command, *rest = arguments(services[name])
    load_command_class(get_commands()[command], command).create_parser("manage.py", command).parse_args(rest)


def test_a_service_waits_for_services_that_can_become_ready(services: dict[str, Any]) -> None:
    for name, service in services.items():
        for awaited, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert services[awaited]["healthcheck"]["test"], (name, awaited)
            else:
                assert how["condition"] == "service_completed_successfully", (name, awaited)
                assert services[awaited]["restart"] == "no", (name, awaited)


def test_processes_start_after_the_setup_and_the_setup_after_the_database(services: dict[str, Any]) -> None:
    for name in processes.COMMANDS:
        assert services[name]["depends_on"].keys() >= {"setup", "redis"}, name
    assert services["setup"]["depends_on"].keys() == {"postgres"}


def test_processes_are_restarted_and_share_one_data_folder(services: dict[str, Any]) -> None:
    folder = image_environment()["PATCHVOTE_DATA"]
    volumes = [path for name, path in instructions() if name == "VOLUME"]
    assert volumes == [folder]
    for name in PLATFORM:
        assert services[name]["volumes"] == [f"data:{folder}"], name
        assert services[name]["restart"] == ("no" if name == "setup" else "unless-stopped"), name
    named = {volume.split(":")[0] for service in services.values() for volume in service.get("volumes", [])}
    assert named == compose()["volumes"].keys()


def test_settings_read_the_variables_of_a_container(services: dict[str, Any]) -> None:
    """A variable whose name is mistyped would leave a setting at its default."""
    given = {
        "POSTGRES_PASSWORD": "secret",
        "PATCHVOTE_ADMIN_PASSWORD": "read by manage.py setup",
        "PATCHVOTE_ALLOWED_HOSTS": "cases.example.org",
        "PATCHVOTE_TRUSTED_ORIGINS": "https://cases.example.org",
        "PATCHVOTE_HTTPS": "1",
    }
    variables = environment(services["web"], given)
    settings = settings_in(variables)
    database = environment(services["postgres"], given)
    assert settings == {
        "database": ["django.db.backends.postgresql", "postgres"]
        + [database[name] for name in ("POSTGRES_DB", "POSTGRES_USER", "POSTGRES_PASSWORD")],
        "redis": "redis://redis:6379/0",
        "private Redis": False,
        "host": True,
        "origins": ["https://cases.example.org"],
        "HTTPS": True,
    }
    others = {"PATCHVOTE_ADMIN_PASSWORD", "PATCHVOTE_ALLOWED_HOSTS", "PATCHVOTE_TRUSTED_ORIGINS", "PATCHVOTE_HTTPS"}
    assert variables.keys() == others | {"DATABASE_URL", "REDIS_URL"}, "the new variable has to be checked above"


def test_what_is_not_set_for_compose_stays_at_its_default(services: dict[str, Any]) -> None:
    settings = settings_in(environment(services["web"], {"POSTGRES_PASSWORD": "secret"}))
    assert (settings["origins"], settings["HTTPS"], settings["host"]) == ([], False, False)
    with pytest.raises(AssertionError, match="POSTGRES_PASSWORD has to be set"):
        environment(services["web"], {})


def environment(service: dict[str, Any], given: dict[str, str]) -> dict[str, str]:
    """Return the environment of a service, its `${NAME:-default}` and `${NAME:?message}` filled in as Compose does."""

    def value(match: re.Match[str]) -> str:
        name, kind, rest = match.groups()
        assert kind == ":-" or name in given, f"{name} has to be set: {rest}"
        return given.get(name) or rest

    pattern = re.compile(r"\$\{(\w+)(:[-?])([^}]*)\}")
    return {name: pattern.sub(value, text) for name, text in service["environment"].items()}


def settings_in(variables: dict[str, str]) -> Any:
    """Return settings as a container's process reads them."""
    code = """
import json
from patchvote.config import settings as s
base = s.DATABASES["default"]
print(json.dumps({
    "database": [base[name] for name in ("ENGINE", "HOST", "NAME", "USER", "PASSWORD")],
    "redis": s.REDIS_URL, "private Redis": s.PRIVATE_REDIS_SOCKET is not None,
    "host": "cases.example.org" in s.ALLOWED_HOSTS, "origins": s.CSRF_TRUSTED_ORIGINS, "HTTPS": s.SESSION_COOKIE_SECURE,
}))
"""
    inherited = {name: value for name, value in os.environ.items() if name not in {"DATABASE_URL", "REDIS_URL"}}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**inherited, **variables},
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return json.loads(done.stdout)


def test_the_web_server_is_reached_at_the_published_port(services: dict[str, Any]) -> None:
    image = image_environment()
    port = image.get("PORT", "8000")
    (published,) = services["web"]["ports"]
    assert published.rpartition(":")[2] == port
    assert [rest for name, rest in instructions() if name == "EXPOSE"] == [port]
    assert image["PATCHVOTE_HOST"] == "0.0.0.0"
    (check,) = [word for word in services["web"]["healthcheck"]["test"] if "http" in word]
    assert f"http://127.0.0.1:{port}/health/" in check


def test_the_image_installs_the_pinned_requirements_before_the_source() -> None:
    steps = instructions()
    installed = next(place for place, (name, rest) in enumerate(steps) if name == "RUN" and "requirements.txt" in rest)
    assert "-r requirements.txt" in steps[installed][1]
    assert steps[installed - 1][0] == "COPY" and steps[installed - 1][1].split()[0] == "requirements.txt"
    assert steps.index(("COPY", ". .")) > installed
    assert (ROOT / "requirements.txt").exists()


def test_the_image_runs_a_process_as_a_user_without_rights() -> None:
    steps = instructions()
    (user,) = [rest for name, rest in steps if name == "USER"]
    made = next(rest for name, rest in steps if name == "RUN" and "useradd" in rest)
    words = shlex.split(made)
    assert words[words.index("useradd") : words.index("&&", words.index("useradd"))][-1] == user
    assert steps.index(("USER", user)) > steps.index(("COPY", ". ."))
    (command,) = [json.loads(rest) for name, rest in steps if name == "CMD"]
    assert command == ["python", "manage.py", "serve", "web"]


def test_the_project_supports_the_python_of_the_image() -> None:
    (base,) = [rest for name, rest in instructions() if name == "FROM"]
    version = re.fullmatch(r"python:(\d+\.\d+)-slim", base)
    assert version
    supported = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert SpecifierSet(supported).contains(version[1])
