"""Measures the pages of the case list and of a case, with few and with very many cases: time and queries.

Two databases are created and deleted again: SQLite files in a temporary folder, or, if DATABASE_URL is set, two
databases on that server. They are filled with cases whose images and results never existed as files. Pages are
requested in this process, from each database in turn, and the median counts.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchmarks import machine

if TYPE_CHECKING:
    from benchmarks.history_pages import Measured

AIM = 1.5


@click.command(help=__doc__)
@click.option("--cases", default=100, show_default=True, help="The number of cases in the small database.")
@click.option("--many", default=100_000, show_default=True, help="The number of cases in the large database.")
@click.option("--repeats", default=9, show_default=True, help="The number of requests for each page.")
@click.option("--page", "wanted", default="", help="Request only pages whose names start with this text, such as API.")
@click.option(
    "--explain", is_flag=True, help=f"Show the slowest query of each page that takes over {AIM} times as long."
)
@machine.json_option
def main(cases: int, many: int, repeats: int, wanted: str, *, explain: bool, written: Path | None) -> None:
    """Measure the pages and print the results."""
    with tempfile.TemporaryDirectory(prefix="patchvote-history-") as folder:
        os.environ |= {
            "DJANGO_SETTINGS_MODULE": "patchvote.config.settings",
            "PATCHVOTE_DATA": folder,
            "PATCHVOTE_RATE_READ": "1000000/s",
            "PATCHVOTE_LOG_LEVEL": "WARNING",
        }
        import django

        django.setup()
        _measure(cases, many, repeats, wanted, explain=explain, written=written)


def _measure(cases: int, many: int, repeats: int, wanted: str, *, explain: bool, written: Path | None) -> None:
    from django.db import connection

    from benchmarks.history_databases import Databases
    from benchmarks.history_pages import measure
    from patchvote.standalone.setup import collect_static

    figures: dict[str, Any] = machine.conditions(packages=("django", "djangorestframework"))
    for line in machine.opening(figures):
        click.echo(line)
    collect_static()
    with Databases({"small": cases, "large": many}) as databases:
        figures |= {"database": f"{connection.vendor} {databases.version()}", "cases": cases, "many": many}
        click.echo(f"{figures['database']}; {cases:,} and {many:,} cases; median of {repeats}")
        click.echo(
            f"\n{'page':34}{'person':>12}{'ms':>9}{'ms':>9}{'ratio':>7}{'queries':>9}{'queries':>9}{'kB':>9}{'kB':>9}"
            f"\n{'':46}{cases:>9,}{many:>9,}{'':7}{cases:>9,}{many:>9,}{cases:>9,}{many:>9,}"
        )
        found = []
        for one in measure(databases, repeats, wanted):
            found.append(one)
            click.echo(_row(one))
            if explain and one.ratio > AIM:
                databases.use("large")
                click.echo(_explained(one))
        figures["pages"] = [one.as_dict() for one in found]
    slower = [one for one in found if one.ratio > AIM]
    uneven = [one for one in found if one.queries["small"] != one.queries["large"]]
    click.echo(
        f"\n{len(slower)} of {len(found)} take over {AIM} times as long (aim: none); "
        f"{len(uneven)} make another number of queries (aim: none)"
    )
    machine.write(figures, written)


def _row(one: Measured) -> str:
    small, large = one.milliseconds["small"], one.milliseconds["large"]
    note = "  SLOWER" if one.ratio > AIM else ""
    if one.queries["small"] != one.queries["large"]:
        note += "  QUERIES DIFFER"
    return (
        f"{one.name:34}{one.person:>12}{small:>9.1f}{large:>9.1f}{one.ratio:>7.2f}"
        f"{one.queries['small']:>9}{one.queries['large']:>9}"
        f"{one.kilobytes['small']:>9.1f}{one.kilobytes['large']:>9.1f}{note}"
    )


def _explained(one: Measured) -> str:
    from django.db import connection

    seconds, sql = one.slowest
    prefix = "EXPLAIN QUERY PLAN" if connection.vendor == "sqlite" else "EXPLAIN"
    with connection.cursor() as cursor:
        cursor.execute(f"{prefix} {sql}".replace("%", "%%"), [])
        plan = [str(row[-1]) for row in cursor.fetchall()]
    return "\n".join([f"    {1000 * seconds:.1f} ms: {sql[:700]}", *(f"      {line}" for line in plan)])


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.history")
