"""Finding cases by what people remember: a part of the reference, of the notes or of a file name.

`Case.search_text` holds all of them, folded. Where few cases match, an index of trigrams finds them: on SQLite a table
of FTS5, on PostgreSQL an index of pg_trgm. Where many match, where the text is too short, or where the database has
neither, the texts themselves are read.
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
"""Matches: of more, reading the texts finds a page sooner than the index does."""

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
    # These two look through the whole index; the product itself never changes or deletes a case's texts.
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
"""Who reads all texts, as counting many matches does, reads this instead of all there is of each case. PostgreSQL could
not hold long texts in such an index, and has another way."""

_POSTGRESQL = (
    "CREATE EXTENSION IF NOT EXISTS pg_trgm",
    "CREATE INDEX IF NOT EXISTS cases_search ON cases_case USING gin (search_text gin_trgm_ops)",
)


def folded(*texts: str) -> str:
    """Texts as they are searched: without regard to capitals, and however their accents are written."""
    return unicodedata.normalize("NFC", "\n".join(texts)).casefold()


def matching(cases: QuerySet[Case], part: str) -> QuerySet[Case]:
    """Those of some cases that have a part in their reference, notes or file names."""
    found = among_few(part)
    return cases.filter(search_text__contains=folded(part)) if found is None else cases.filter(pk__in=found)


def with_reference(cases: QuerySet[Case], part: str) -> QuerySet[Case]:
    """Those of some cases that have a part in their reference."""
    return matching(cases, part).filter(reference__icontains=part)


def among_few(part: str) -> list[UUID] | None:
    """All cases that match, from SQLite's index; None if they are many, or it cannot tell."""
    text = folded(part)
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


def make_index(using: str) -> None:
    """Have the index in a database, complete, where it can be had.

    After each migration, for Django knows neither index: on SQLite it may make the table of cases anew, which drops the
    triggers.
    """
    database = connections[using]
    if database.vendor == "sqlite":
        _make(database, _SQLITE_TEXTS)
        _make(database, _SQLITE, _complete)
    else:
        _make(database, _POSTGRESQL)


def _make(
    database: BaseDatabaseWrapper, statements: Sequence[str], then: Callable[[CursorWrapper], None] | None = None
) -> None:
    try:
        with transaction.atomic(database.alias), database.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            if then:
                then(cursor)
    except DatabaseError as error:
        logger.warning("searches read all texts, for there can be no index of them: %s", error)


def _complete(cursor: CursorWrapper) -> None:
    """Fill SQLite's index anew if it does not hold each case.

    A migration that makes the table anew and then changes texts has to empty the index: it holds each case then, too.
    """
    cursor.execute("SELECT (SELECT COUNT(*) FROM cases_case), (SELECT COUNT(*) FROM cases_search)")
    cases, indexed = cursor.fetchone()
    if cases != indexed:
        cursor.execute("DELETE FROM cases_search")
        cursor.execute("INSERT INTO cases_search(text, case_id) SELECT search_text, id FROM cases_case")
