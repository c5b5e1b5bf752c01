"""What tests read of cases."""

from __future__ import annotations

from patchvote.cases.models import Analysis


def states() -> list[tuple[str, int]]:
    """Return the state and the number of attempts of all analyses, sorted."""
    return sorted(Analysis.objects.values_list("state", "attempts"))
