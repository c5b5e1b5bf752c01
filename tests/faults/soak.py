"""Patchvote under faults for as long as you like: prints a Markdown table, and ends with 1 if a promise was broken."""

from __future__ import annotations

import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import click

from tests.faults.campaign import run
from tests.faults.installation import Installation
from tests.faults.pictures import Pool

PAUSE_SECONDS = 8.0


@click.command(help=__doc__)
@click.option("--minutes", default=20.0, show_default=True, help="At the least.")
@click.option("--cases", default=2000, show_default=True, help="Accepted, at the least.")
@click.option("--seed", type=int, help="Decides faults and cases; by the clock unless given.")
@click.option("--postgres", is_flag=True, help="On a PostgreSQL server of its own, where its binaries are found.")
@click.option("--workers", default=2, show_default=True, help="Inference workers.")
@click.option("--logs", type=click.Path(path_type=Path), help="Keep the data folder with its logs here.")
def main(minutes: float, cases: int, seed: int | None, postgres: bool, workers: int, logs: Path | None) -> None:
    """Run."""
    seed = time.time_ns() % 100_000 if seed is None else seed
    click.echo(f"seed {seed}", err=True)
    with ExitStack() as stack:
        folder = logs or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="patchvote-soak-")))
        folder.mkdir(parents=True, exist_ok=True)
        server = None
        if postgres:
            from testing.postgres import Postgres

            server = stack.enter_context(Postgres(folder))
        pool = Pool(folder)
        installation = Installation(folder / "data", pool.bundle, workers=workers, server=server)
        stack.callback(installation.stop)
        installation.start()
        report = run(
            installation,
            pool,
            seed=seed,
            seconds=60 * minutes,
            cases=cases,
            pause=PAUSE_SECONDS,
            say=lambda line: click.echo(line, err=True),
        )
        click.echo(report.as_markdown())
    sys.exit(not report.clean)


if __name__ == "__main__":
    main()
