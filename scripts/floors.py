"""Copies the floors of all packages from the contracts of import-linter into docs/architecture.md (`make format`).

With `--check` it changes nothing and exits with 1 if the table differs from the contracts.
"""

# ruff: noqa: INP001, T201 (a script that prints for the person who runs it)

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- floors -->\n", "<!-- end of floors -->\n"


def main() -> int:
    """Update or check the table."""
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    updated = f"{before}{BEGIN}{table()}{END}{after}"
    if updated == text:
        return 0
    if "--check" in sys.argv:
        print("The floors in docs/architecture.md differ from the contracts in pyproject.toml: run make format.")
        return 1
    PAGE.write_text(updated, encoding="utf-8")
    return 0


def table() -> str:
    """Return a table in Markdown with one row for each contract of the type `layers`."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    rows = ["", "| package | from the top floor to the bottom |", "| --- | --- |"]
    for contract in contracts:
        if contract["type"] == "layers":
            floors = [", ".join(f"`{name.strip()}`" for name in layer.split("|")) for layer in contract["layers"]]
            packages = ", ".join(f"`{name}`" for name in contract.get("containers", [])) or "all packages"
            rows.append(f"| {packages} | {' / '.join(floors)} |")
    return "\n".join([*rows, "", ""])


if __name__ == "__main__":
    sys.exit(main())
