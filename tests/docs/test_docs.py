"""The documentation builds, and what it names exists."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
CODE = re.compile(r"`([^`\n]+)`")
FENCED = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
FOLDERS = ("benchmarks", "classifier", "docs", "frontend", "platform", "scripts", "testing", "tests", "trainer")
FILE = re.compile(rf"(?:{'|'.join(FOLDERS)})(?:/[\w.-]+)*/?")
MODULE = re.compile(r"python -m ((?:benchmarks|classifier|trainer|tests|testing)[\w.]*)")
TARGET = re.compile(r"\bmake ([a-z][\w-]*)")
APPS = ("accounts", "cases", "core", "jobs", "registry", "standalone", "training")
NAME = re.compile(rf"(?:classifier|patchvote|trainer|{'|'.join(APPS)}|ledger)(?:\.\w+)+(?<!\.py)")
PLACEHOLDER = re.compile(r"NAME|APP")
PERMISSION = re.compile(r"\w+\.(?:add|change|delete|view)_\w+")


def pages(*, without: tuple[str, ...] = ()) -> list[Path]:
    return [page for page in PAGES if page.name not in without]


def ids(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    options = ["-q", "-W", "--keep-going", "-n", "-c", "docs", "-d", str(tmp_path / "doctrees")]
    command = [sys.executable, "-m", "sphinx", *options, ".", str(tmp_path / "html")]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    for page in PAGES:
        assert (tmp_path / "html" / page.relative_to(ROOT)).with_suffix(".html").exists(), page
    assert (tmp_path / "html" / "index.html").exists()


@pytest.mark.parametrize("page", pages(without=("CHANGELOG.md",)), ids=ids)
def test_files_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text()
    words = [word for code in (*CODE.findall(text), *FENCED.findall(text)) for word in code.split()]
    named = {word for word in words if FILE.fullmatch(word) and not PLACEHOLDER.search(word)}
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def in_code(name: str) -> bool:
    """Return whether a dotted name is a module, or a name that is defined in one."""
    first, *rest = name.split(".")
    if first == "patchvote":
        folder = ROOT / "platform" / "patchvote"
    elif first == "ledger":
        folder = ROOT / "platform" / "patchvote" / "jobs" / "ledger"
    else:
        folder = ROOT / "platform" / "patchvote" / first if first in APPS else ROOT / first
    while rest and (folder / rest[0]).is_dir():
        folder /= rest.pop(0)
    if rest and (folder / f"{rest[0]}.py").exists():
        folder /= rest.pop(0)
    if not rest:
        return True
    source = folder.with_suffix(".py")
    sources = [source] if source.exists() else sorted(folder.glob("*.py"))
    return any(
        re.search(rf"^ *(?:class|def) {rest[0]}\b|^{rest[0]}\b", text.read_text(), re.MULTILINE) for text in sources
    )


@pytest.mark.parametrize("page", pages(without=("CHANGELOG.md",)), ids=ids)
def test_names_of_the_code_that_a_page_names_exist(page: Path) -> None:
    named = {code for code in CODE.findall(FENCED.sub("", page.read_text())) if NAME.fullmatch(code)}
    named = {name for name in named if not PERMISSION.fullmatch(name)}
    assert [name for name in sorted(named) if not in_code(name)] == []


@pytest.mark.parametrize("page", pages(without=("CHANGELOG.md",)), ids=ids)
def test_commands_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text()
    for module in sorted(set(MODULE.findall(text))):
        path = ROOT.joinpath(*module.rstrip(".").split("."))
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    in_code = [*CODE.findall(text), *FENCED.findall(text)]
    named = {target for code in in_code for target in TARGET.findall(code)}
    assert named <= targets, named - targets


def test_the_version_is_the_same_everywhere() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    released = re.findall(r"^## \[(\d[\d.]*)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert released[0] == version


def test_the_floors_are_those_of_the_contracts() -> None:
    checked = subprocess.run(
        [sys.executable, "scripts/floors.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout


def test_every_decision_is_listed() -> None:
    folder = ROOT / "docs" / "adr"
    listed = re.findall(r"\]\((\d{4}-[\w-]+\.md)\)", (folder / "index.md").read_text())
    assert listed == sorted(page.name for page in folder.glob("0*.md"))
