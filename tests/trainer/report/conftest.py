"""Reports that several modules read, written once."""

from __future__ import annotations

from pathlib import Path

import pytest

from testing import studies
from testing.report_pages import Page, write
from trainer.evaluation.results import StudyResults


@pytest.fixture(scope="session")
def full_report(tmp_path_factory: pytest.TempPathFactory) -> tuple[StudyResults, Path, Page]:
    """The report of a study with all kinds of candidates."""
    results, out = studies.full(), tmp_path_factory.mktemp("full")
    return results, out, write(out, results)


@pytest.fixture(scope="session")
def subtypes_report(tmp_path_factory: pytest.TempPathFactory) -> tuple[StudyResults, Path, Page]:
    """The report of a study of the eight tumour types."""
    results, out = studies.subtypes(), tmp_path_factory.mktemp("subtypes")
    return results, out, write(out, results)
