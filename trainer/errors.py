"""Everything that is wrong, said at once."""

from __future__ import annotations


class ProblemsError(ValueError):
    """Something that cannot be used.

    Attributes:
        problems: Everything that is wrong, one sentence each.
    """

    def __init__(self, problems: list[str]) -> None:
        """Keep all problems; the message holds one a line."""
        super().__init__("\n".join(problems))
        self.problems = problems


class OptionsError(ProblemsError):
    """Options that cannot be used."""
