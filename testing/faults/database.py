"""The database of an installation, read without the code under test."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

UNREACHABLE = (sqlite3.OperationalError, psycopg.OperationalError)

JOURNAL = """
CREATE TABLE fault_journal (
    id {serial}, analysis TEXT, state TEXT, attempts INTEGER, worker TEXT, at DOUBLE PRECISION
)
"""
SQLITE_TRIGGER = """
CREATE TRIGGER fault_journal AFTER UPDATE OF state ON cases_analysis BEGIN
    INSERT INTO fault_journal (analysis, state, attempts, worker, at)
    VALUES (NEW.id, NEW.state, NEW.attempts, NEW.worker, (julianday('now') - 2440587.5) * 86400.0);
END
"""
POSTGRES_TRIGGER = """
CREATE FUNCTION fault_journal() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO fault_journal (analysis, state, attempts, worker, at)
    VALUES (NEW.id, NEW.state, NEW.attempts, NEW.worker, extract(epoch FROM clock_timestamp()));
    RETURN NULL;
END $$;
CREATE TRIGGER fault_journal AFTER UPDATE OF state ON cases_analysis FOR EACH ROW EXECUTE FUNCTION fault_journal()
"""
"""The database itself records each step of an analysis, so that an analysis that ends twice is always noticed."""


class Database:
    """An SQLite file or a PostgreSQL server. Statements have `?` for values.

    Attributes:
        postgres: The URL of the PostgreSQL database, empty on SQLite.
    """

    def __init__(self, where: Path | str) -> None:
        """Name the SQLite file, or give the URL of a PostgreSQL database."""
        self.postgres = where if isinstance(where, str) else ""
        self._where = where

    def rows(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        """Return the rows of a query, UUIDs as 32 hexadecimal digits and JSON decoded."""
        with closing(self.connect()) as connection:
            return [_plain(row) for row in connection.execute(self._worded(statement), values).fetchall()]

    def change(self, *statements: str) -> None:
        """Run statements in one transaction."""
        with self.transaction() as connection:
            for statement in statements:
                connection.execute(self._worded(statement))

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        """Open a transaction that may write; on SQLite no other connection can write meanwhile."""
        with closing(self.connect()) as connection:
            connection.execute("BEGIN" if self.postgres else "BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")

    def connect(self) -> Any:
        """Return a connection in autocommit mode."""
        if self.postgres:
            return psycopg.connect(self.postgres, autocommit=True, connect_timeout=5, row_factory=dict_row)
        connection = sqlite3.connect(self._where, timeout=60, isolation_level=None)
        connection.row_factory = sqlite3.Row
        return connection

    def keep_journal(self) -> None:
        """Record each step of an analysis from now on: see `journal`."""
        serial = "BIGSERIAL PRIMARY KEY" if self.postgres else "INTEGER PRIMARY KEY"
        self.change(JOURNAL.format(serial=serial), POSTGRES_TRIGGER if self.postgres else SQLITE_TRIGGER)

    def journal(self) -> list[dict[str, Any]]:
        """Return the steps in order: analysis, state, attempts, worker, at (seconds since 1970)."""
        steps = self.rows("SELECT * FROM fault_journal ORDER BY id")
        return [{**step, "analysis": step["analysis"].replace("-", "")} for step in steps]

    def job_tables(self) -> dict[str, set[str]]:
        """Return the columns of the tables that hold jobs, by table."""
        if self.postgres:
            found = self.rows("SELECT table_name, column_name FROM information_schema.columns")
        else:
            found = self.rows(
                "SELECT m.name AS table_name, c.name AS column_name FROM sqlite_master m, pragma_table_info(m.name) c "
                "WHERE m.type = 'table'"
            )
        tables: dict[str, set[str]] = {}
        for row in found:
            tables.setdefault(row["table_name"], set()).add(row["column_name"])
        return {name: columns for name, columns in tables.items() if {"lease_expires_at", "queued_at"} <= columns}

    def shifted(self, column: str, seconds: int) -> str:
        """Return an SQL expression for the time in a column plus some seconds."""
        if self.postgres:
            return f"{column} + interval '{seconds} seconds'"
        return f"strftime('%Y-%m-%d %H:%M:%f', {column}, '{seconds:+d} seconds')"

    def _worded(self, statement: str) -> str:
        return statement.replace("%", "%%").replace("?", "%s") if self.postgres else statement


def _plain(row: Any) -> dict[str, Any]:
    values = dict(row)
    for name, value in values.items():
        if isinstance(value, UUID):
            values[name] = value.hex
        elif name == "votes" and isinstance(value, str):
            values[name] = json.loads(value)
    return values
