"""Update the translations from the source: extract, merge and compile. Run it with `make messages`.

Exits with 1 and prints the positions if messages have no translation or an unconfirmed one ("fuzzy"). Translate them in
frontend/locale/es/LC_MESSAGES/django.po, remove the flag `fuzzy`, and run again. Needs GNU gettext.
"""

# ruff: noqa: INP001, T201 (a script that prints to the terminal)

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import django
import polib
from django.conf import settings
from django.core.management import CommandError, call_command
from django.core.management.commands import makemessages

ROOT = Path(__file__).resolve().parents[1]
LOCALES = ROOT / "frontend" / "locale"
SOURCES = {"classifier", "frontend", "platform", "trainer"}
LANGUAGES = ["es"]
PLACEHOLDER = re.compile(r"%(\(\w+\))?[sdf%]")


def main() -> int:
    """Update all catalogues; return 1 if one of them has untranslated messages."""
    try:
        extract()
    except CommandError as error:
        print(error, file=sys.stderr)
        return 1
    gaps = [gap for language in LANGUAGES for gap in finish(catalogue(language))]
    for gap in gaps:
        print(gap, file=sys.stderr)
    return 1 if gaps else 0


def catalogue(language: str) -> Path:
    """Return the path of a language's catalogue."""
    return LOCALES / language / "LC_MESSAGES" / "django.po"


def extract() -> None:
    """Extract all messages from code and templates and merge them into the catalogues.

    Raises:
        CommandError: If GNU gettext is missing or cannot read a file.
    """
    settings.configure(LOCALE_PATHS=[str(LOCALES)], USE_I18N=True)
    django.setup()
    os.chdir(ROOT)
    # The help of options is the second argument of `_field` in `trainer.options`.
    makemessages.Command.xgettext_options = [*makemessages.Command.xgettext_options, "--keyword=_field:2"]
    elsewhere = [path.name for path in ROOT.iterdir() if path.name not in SOURCES]
    call_command(
        "makemessages",
        locale=LANGUAGES,
        extensions=["html", "py", "txt"],
        ignore_patterns=elsewhere,
        add_location="file",
        no_wrap=True,
        no_obsolete=True,
        verbosity=0,
    )


def finish(path: Path) -> list[str]:
    """Normalise a catalogue, compile it, and return a line for each missing or unconfirmed translation."""
    messages = polib.pofile(str(path), wrapwidth=100_000)
    language = path.parts[-3]
    messages.metadata = {
        "Project-Id-Version": "Patchvote",
        "Language": language,
        "MIME-Version": "1.0",
        "Content-Type": "text/plain; charset=UTF-8",
        "Content-Transfer-Encoding": "8bit",
        "Plural-Forms": "nplurals=2; plural=(n != 1);",
    }
    messages.metadata_is_fuzzy = False
    for entry in messages:
        _correct_format(entry)
    messages.header = f"Patchvote in {language}. The messages come from the source; `make messages` updates them."
    messages.save()
    messages.save_as_mofile(str(path.with_suffix(".mo")))
    missing = [("no translation", entry) for entry in messages.untranslated_entries()]
    unsure = [("fuzzy", entry) for entry in messages.fuzzy_entries()]
    return [f"{path.relative_to(ROOT)}:{entry.linenum}: {what}: {entry.msgid}" for what, entry in missing + unsure]


def _correct_format(entry: polib.POEntry) -> None:
    """Correct the flags: a percent sign in prose is no placeholder, and a changed flag alone is not fuzzy."""
    if "python-format" in entry.flags and not PLACEHOLDER.search(entry.msgid):
        entry.flags[entry.flags.index("python-format")] = "no-python-format"
    if entry.fuzzy and entry.previous_msgid == entry.msgid:
        entry.flags.remove("fuzzy")
        entry.previous_msgid = None


if __name__ == "__main__":
    sys.exit(main())
