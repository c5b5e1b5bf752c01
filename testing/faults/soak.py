"""Run Patchvote under faults for a long time. Prints a Markdown table; the exit status is 1 if a promise was broken."""

from __future__ import annotations

import secrets
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import click

from testing.faults.campaign import run
from testing.faults.installation import Installation
from testing.faults.pictures import Pool
from testing.faults.training import KilledRun, training_worker

PAUSE_SECONDS = 8.0


@click.command(help=__doc__)
@click.option("--minutes", default=20.0, show_default=True, help="Minimum duration.")
@click.option("--cases", default=2000, show_default=True, help="Minimum number of accepted cases.")
@click.option("--seed", type=int, help="Decides faults and cases; random by default.")
@click.option("--postgres", is_flag=True, help="Use a private PostgreSQL server; its programs have to be installed.")
@click.option("--workers", default=2, show_default=True, help="Number of inference workers.")
@click.option("--kills", default=10, show_default=True, help="Kills of one training run; 0 for no training run.")
@click.option("--logs", type=click.Path(path_type=Path), help="Folder that keeps the data folder and its logs.")
def main(  # noqa: PLR0917 (click passes by name)
    minutes: float, cases: int, seed: int | None, postgres: bool, workers: int, kills: int, logs: Path | None
) -> None:
    """Run the campaign, then kill a training run."""
    seed = secrets.randbelow(100_000) if seed is None else seed
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
        wrong = _kill_training(installation, kills, seed) if kills else []
    sys.exit(bool(wrong) or not report.clean)


def _kill_training(on: Installation, kills: int, seed: int) -> list[str]:
    """Print and return what is wrong with a training run after a number of kills."""
    on.settled()
    with training_worker(on):
        run = KilledRun(on, kills=kills, seed=seed)
    wrong = run.differences() + [f"process {pid} is still alive" for pid in run.left]
    click.echo(f"\n{run.kills} kills of a training run, {run.disturbed['attempts']} attempts")
    click.echo("".join(f"- {sentence}\n" for sentence in wrong) or "The result equals that of an undisturbed run.")
    return wrong


if __name__ == "__main__":
    main()
