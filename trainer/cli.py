"""Shared parts of the commands: options derived from `FitOptions`, and errors as messages."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click
from click.core import ParameterSource
from pydantic import ValidationError

from classifier.grid import GRIDS
from trainer.data.records import MAGNIFICATIONS
from trainer.options import FitOptions

Command = Callable[..., Any]

_CHOICES: dict[str, Sequence[str]] = {
    "grid": tuple(GRIDS),
    "magnification": (*MAGNIFICATIONS, "all"),
    "also": MAGNIFICATIONS,
}

INTERRUPTED = 130
"""The exit status after Ctrl-C."""


def fit_options(*names: str) -> Callable[[Command], Command]:
    """Return a decorator that adds command options for fields of `FitOptions`, with defaults, bounds and help.

    Args:
        names: The names of the fields, in the order of the help.
    """

    def decorate(command: Command) -> Command:
        for name in reversed(names):
            command = _option(name)(command)
        return command

    return decorate


def _option(name: str) -> Callable[[Command], Command]:
    field = FitOptions.model_fields[name]
    flag = f"--{name.replace('_', '-')}"
    settings: dict[str, Any] = {"help": field.description, "show_default": True}
    if name in _CHOICES:
        kind: Any = click.Choice(_CHOICES[name])
    elif get_origin(field.annotation) is Literal:
        kind = click.Choice(get_args(field.annotation))
    else:
        kind = field.annotation
    if name == "grid":
        return click.option(flag, type=kind, default="cover", **settings)
    if name in _MANY:
        return click.option(flag, type=kind, multiple=True, **settings)
    if field.annotation is bool:
        return click.option(f"{flag}/--no-{flag[2:]}", default=field.default, **settings)
    return click.option(flag, type=kind, default=field.default, **settings)


_MANY = frozenset({"also"})


def options_of(context: click.Context, base: FitOptions, file: Path | None) -> FitOptions:
    """Return the options: the command line overrides the file of `--options`, which overrides `base`.

    Raises:
        ValueError: If the file does not contain options.
    """
    if file is not None:
        try:
            base = FitOptions.model_validate_json(file.read_bytes())
        except ValidationError as error:
            raise ValueError(f"{file} does not contain options as `search` writes them: {error}") from error
    return base.replace(**given(context))


def given(context: click.Context) -> dict[str, Any]:
    """Return the fields of `FitOptions` that are set on the command line, with the values that the class accepts."""
    values = {
        name: value
        for name, value in context.params.items()
        if name in FitOptions.model_fields and context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    if "grid" in values:
        values["grid"] = GRIDS[values["grid"]]
    return values


def shared_options(command: Command) -> Command:
    """Add the options that name the images, the device and the cache."""
    for option in reversed(_SHARED):
        command = option(command)
    return command


_SHARED = (
    click.option(
        "--data",
        required=True,
        type=click.Path(path_type=Path),
        help="The images: a CSV file with the columns path, label and patient, a folder with such a manifest.csv, "
        "or a folder tree with BreakHis file names.",
    ),
    click.option(
        "--fold-lists",
        type=click.Path(path_type=Path),
        help="Folder with BreakHis's lists dsfold1.txt to dsfold5.txt, for the protocol official.",
    ),
    click.option(
        "--options",
        "options_file",
        type=click.Path(path_type=Path),
        help="A JSON file of options, such as the best.json of `search`; options on the command line override it.",
    ),
    click.option(
        "--device", default="auto", show_default=True, help="auto (a GPU if there is one), cpu, cuda or cuda:1."
    ),
    click.option(
        "--precision",
        type=click.Choice(["auto", "float32", "bfloat16"]),
        default="auto",
        show_default=True,
        help="The number format of networks in training; auto is bfloat16 if the hardware supports it.",
    ),
    click.option(
        "--cache",
        type=click.Path(path_type=Path),
        help="Folder for the cache of decoded images and features.  [default: cache in PATCHVOTE_DATA, else var/cache]",
    ),
)


def default_cache() -> Path:
    """Return the cache folder within Patchvote's data folder."""
    return Path(os.environ.get("PATCHVOTE_DATA", "var")) / "cache"


@contextmanager
def errors_as_messages() -> Iterator[None]:
    """Print errors that a user can fix, one per line, and exit with status 1; after Ctrl-C, print a hint."""
    try:
        yield
    except ValidationError as error:
        for wrong in error.errors():
            option = "-".join(str(part).replace("_", "-") for part in wrong["loc"])
            click.echo(f"--{option}: {wrong['msg']}.", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        click.echo("\nStopped. Finished work is kept: run the same command again to continue.", err=True)
        sys.exit(INTERRUPTED)
    except (ArithmeticError, ValueError, RuntimeError, OSError) as error:
        for line in str(error).splitlines():
            click.echo(f"Error: {line}", err=True)
        sys.exit(1)
