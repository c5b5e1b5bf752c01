"""Errors that list everything that is wrong at once."""

from __future__ import annotations


class ProblemsError(ValueError):
    """An input that cannot be used.

    Attributes:
        problems: Everything that is wrong, one sentence each.
    """

    def __init__(self, problems: list[str]) -> None:
        """Store all problems; the text of the error has one per line."""
        super().__init__("\n".join(problems))
        self.problems = problems


class OptionsError(ProblemsError):
    """Options that cannot be used."""
