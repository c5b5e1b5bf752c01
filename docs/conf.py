"""Configuration of Sphinx, which builds the documentation site from the repository's Markdown files (`make docs`).

The source folder is the repository's root, so that links between `docs/` and `README.md` are the same on the site and
in the repository.
"""

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

project = "Patchvote"
author = "The Patchvote founders"
project_copyright = f"2026, {author}"
release = version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]

extensions = ["myst_parser"]
root_doc = "docs/index"
include_patterns = ["*.md", "docs/**.md"]
# Folders without documentation are not searched.
exclude_patterns = ["docs/_build", "[!d]*/", ".[a-z]*"]
nitpicky = True
myst_heading_anchors = 4

html_theme = "furo"
html_title = f"Patchvote {release}"
html_extra_path = ["site"]
html_copy_source = False
html_show_sourcelink = False
