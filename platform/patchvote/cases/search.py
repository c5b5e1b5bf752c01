"""Substring search over the references, notes and file names of cases.

`Case.search_text` holds these texts in normalised form. A trigram index finds the cases if few match: an FTS5 table on
SQLite, a pg_trgm index on PostgreSQL. If many match, if the search text is too short, or if the database supports
neither, the texts themselves are scanned.
"""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Callable, Sequence
from uuid import UUID

from django.db import DatabaseError, OperationalError, connection, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper
from django.db.models import QuerySet

from patchvote.cases.models import Case

logger = logging.getLogger(__name__)

FEW = 1000
"""Maximum number of matches for which the index is used; with more, a scan of the texts fills a page sooner."""

_TRIGRAM = 3

_SQLITE = (
    """
    CREATE VIRTUAL TABLE IF NOT EXISTS cases_search
    USING fts5(text, case_id UNINDEXED, tokenize='trigram case_sensitive 1')
    """,
    """
    CREATE TRIGGER IF NOT EXISTS cases_search_insert AFTER INSERT ON cases_case
    BEGIN INSERT INTO cases_search(text, case_id) VALUES (new.search_text, new.id); END
    """,
    # These two triggers scan the whole index; the application itself never changes or deletes a case's texts.
    """
    CREATE TRIGGER IF NOT EXISTS cases_search_update AFTER UPDATE OF search_text ON cases_case
    BEGIN UPDATE cases_search SET text = new.search_text WHERE case_id = old.id; END
    """,
    """
    CREATE TRIGGER IF NOT EXISTS cases_search_delete AFTER DELETE ON cases_case
    BEGIN DELETE FROM cases_search WHERE case_id = old.id; END
    """,
)

_SQLITE_TEXTS = ("CREATE INDEX IF NOT EXISTS cases_search_texts ON cases_case (submitter_id, search_text)",)
"""A covering index: a scan of all texts, as for counting many matches, reads it instead of the complete rows.
PostgreSQL cannot index long texts like this, and does not need to."""

_POSTGRESQL = (
    "CREATE EXTENSION IF NOT EXISTS pg_trgm",
    "CREATE INDEX IF NOT EXISTS cases_search ON cases_case USING gin (search_text gin_trgm_ops)",
)


def normalise(*texts: str) -> str:
    """Join texts for searching: case-folded, in Unicode normal form C."""
    return unicodedata.normalize("NFC", "\n".join(texts)).casefold()


def filter_by_text(cases: QuerySet[Case], part: str) -> QuerySet[Case]:
    """Filter the cases whose reference, notes or file names contain a text."""
    found = find_in_index(part)
    return cases.filter(search_text__contains=normalise(part)) if found is None else cases.filter(pk__in=found)


def filter_by_reference(cases: QuerySet[Case], part: str) -> QuerySet[Case]:
    """Filter the cases whose reference contains a text."""
    return filter_by_text(cases, part).filter(reference__icontains=part)


def find_in_index(part: str) -> list[UUID] | None:
    """Return the ids of all matching cases from SQLite's index; None if there are many or the index cannot be used."""
    text = normalise(part)
    if connection.vendor != "sqlite" or len(text) < _TRIGRAM:
        return None
    quoted = '"{}"'.format(text.replace('"', '""'))
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT case_id FROM cases_search WHERE text MATCH %s LIMIT %s", [quoted, FEW + 1])
            found = cursor.fetchall()
    except OperationalError:  # this SQLite has no FTS5
        return None
    return [UUID(pk) for (pk,) in found] if len(found) <= FEW else None


def create_index(using: str) -> None:
    """Create and fill the index of a database that supports one.

    This runs after each migration, because Django does not know the index: on SQLite, a migration may recreate the
    table of cases, which drops the triggers.
    """
    database = connections[using]
    if database.vendor == "sqlite":
        _execute(database, _SQLITE_TEXTS)
        _execute(database, _SQLITE, _fill_index)
    else:
        _execute(database, _POSTGRESQL)


def _execute(
    database: BaseDatabaseWrapper, statements: Sequence[str], then: Callable[[CursorWrapper], None] | None = None
) -> None:
    try:
        with transaction.atomic(database.alias), database.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            if then:
                then(cursor)
    except DatabaseError as error:
        logger.warning("the search index cannot be created, searches scan all texts: %s", error)


def _fill_index(cursor: CursorWrapper) -> None:
    """Refill SQLite's index if it does not have one entry per case.

    A migration that recreates the table and then changes texts must empty the index: the counts would match.
    """
    cursor.execute("SELECT (SELECT COUNT(*) FROM cases_case), (SELECT COUNT(*) FROM cases_search)")
    cases, indexed = cursor.fetchone()
    if cases != indexed:
        cursor.execute("DELETE FROM cases_search")
        cursor.execute("INSERT INTO cases_search(text, case_id) SELECT search_text, id FROM cases_case")
