"""Two databases of the platform, filled with few and with very many cases."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Self

import click
from django.db import connection

from benchmarks.history_cases import fill


class Databases:
    """Databases by name, created on entry and deleted on exit; one at a time is in use."""

    def __init__(self, cases: Mapping[str, int]) -> None:
        """Store the number of cases of each database."""
        self._cases = cases
        self._ending = ExitStack()
        self._settings = connection.settings_dict
        self._own = self._settings["NAME"]

    def __enter__(self) -> Self:
        """Create and fill the databases."""
        with ExitStack() as ending:
            for name, cases in self._cases.items():
                self._make(name)
                ending.callback(self._destroy, name)
                began = time.perf_counter()
                fill(cases)
                _gather_statistics()
                click.echo(f"{cases:,} cases made in {time.perf_counter() - began:.0f} s")
            self._ending = ending.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Delete the databases."""
        self._ending.close()

    @property
    def names(self) -> list[str]:
        """The names, in the order of creation."""
        return list(self._cases)

    def use(self, name: str) -> None:
        """Switch Django's connection to a database."""
        connection.close()
        self._settings["NAME"] = self._path(name)

    @staticmethod
    def version() -> str:
        """Return the version of the database server or library."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT sqlite_version()" if connection.vendor == "sqlite" else "SHOW server_version")
            return str(cursor.fetchone()[0])

    def _path(self, name: str) -> str:
        stem = f"patchvote_benchmark_{os.getpid()}_{name}"
        return f"{self._own}.{stem}" if connection.vendor == "sqlite" else stem

    def _make(self, name: str) -> None:
        """As Django makes a test's: on a server, from a connection that needs no database."""
        connection.close()
        self._settings["NAME"] = self._own
        self._settings["TEST"]["NAME"] = self._path(name)
        connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)

    def _destroy(self, name: str) -> None:
        self.use(name)
        connection.creation.destroy_test_db(self._own, verbosity=0)


def _gather_statistics() -> None:
    """Update the statistics, as PostgreSQL does automatically some time after many inserts; SQLite never does."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
