"""The environment variables that Patchvote reads, each with its type, its default and its help.

`patchvote.config.settings` reads them once, when it is imported. `python -m patchvote.config.env` prints the table that
docs/operation.md contains.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast, get_args

from pydantic import BeforeValidator, Field, ValidationError, model_validator
from pydantic.config import JsonDict
from pydantic_core import ErrorDetails, PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

ROOT = Path(__file__).resolve().parents[3]

PREFIX = "PATCHVOTE_"

_TRUE = {"1", "true", "yes", "on"}


def _flag(value: str) -> bool:
    return value.lower() in _TRUE


def _whole_number(value: str) -> int:
    try:
        return int(value)
    except ValueError:
        problem = PydanticCustomError("whole_number", "must be a whole number, not {value}", {"value": repr(value)})
        raise problem from None


def _share(value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = -1
    if not 0 <= number <= 1:
        raise PydanticCustomError("share", "must be a number from 0 to 1, not {value}", {"value": repr(value)})
    return number


def _words(value: str) -> list[str]:
    return [word.strip() for word in value.split(",") if word.strip()]


def _folder(value: str) -> Path:
    return Path(value).expanduser().resolve()


def _folders(value: str) -> list[Path]:
    return [_folder(part) for part in value.split(os.pathsep) if part.strip()]


Flag = Annotated[bool, BeforeValidator(_flag)]
"""True for 1, true, yes and on; False for everything else."""

WholeNumber = Annotated[int, BeforeValidator(_whole_number)]
Share = Annotated[float, BeforeValidator(_share)]
Words = Annotated[list[str], NoDecode, BeforeValidator(_words)]
"""Words separated by commas."""

Folder = Annotated[Path, BeforeValidator(_folder)]
Folders = Annotated[list[Path] | None, NoDecode, BeforeValidator(_folders)]
"""Folders separated as in `PATH`; None if the variable is unset. `NoDecode` has an effect outside the union only."""


def _variable(name: str, default: Any, description: str, *, shown: str | None = None, least: int | None = None) -> Any:
    """Declare an environment variable.

    Args:
        name: The name of the variable.
        default: The value if the variable is unset or empty.
        description: The help, in Markdown.
        shown: The default in words, where the value alone does not say it.
        least: The smallest value that is accepted.
    """
    extra: JsonDict = {"shown": str(default) if shown is None else shown}
    return Field(default, alias=name, description=description, ge=least, json_schema_extra=extra)


class Environment(BaseSettings):
    """The environment variables of an installation. An empty variable counts as unset."""

    model_config = SettingsConfigDict(case_sensitive=True, extra="ignore", frozen=True, validate_default=False)

    # --- the server
    port: WholeNumber = _variable("PORT", 8000, "Port of the web server.")
    host: str = _variable("PATCHVOTE_HOST", "127.0.0.1", "Address on which the web server listens.")
    data_folder: Folder = _variable(
        "PATCHVOTE_DATA", (ROOT / "var").resolve(), "The data folder: everything that Patchvote keeps.", shown="`./var`"
    )
    database_url: str = _variable(
        "DATABASE_URL", "", "Database: `postgresql://user:password@host/name`.", shown="SQLite in the data folder"
    )
    redis_url: str = _variable(
        "REDIS_URL", "", "Message broker: `redis://host:6379/0` or `unix:///path`.", shown="a private Redis"
    )
    web_workers: WholeNumber = _variable("PATCHVOTE_WEB_WORKERS", 2, "Number of web processes, with 8 threads each.")
    process: str = _variable(
        "PATCHVOTE_PROCESS",
        "manage",
        "Name of the process in the log (`process_name`). `make run` and `manage.py serve` set it.",
    )

    # --- security
    admin_password: str = _variable(
        "PATCHVOTE_ADMIN_PASSWORD",
        "",
        "Password of the first admin, `admin`. It is read at the first start only.",
        shown="random, printed once",
    )
    secret_key: str = _variable("PATCHVOTE_SECRET_KEY", "", "Django's secret key.", shown="kept in the data folder")
    https: Flag = _variable(
        "PATCHVOTE_HTTPS",
        False,
        "Set to 1 if a proxy serves Patchvote over HTTPS: secure cookies, HSTS and a redirect from HTTP.",
        shown="off",
    )
    hsts_seconds: WholeNumber = _variable(
        "PATCHVOTE_HSTS_SECONDS", 31_536_000, "With `PATCHVOTE_HTTPS`: how long browsers remember to use HTTPS only."
    )
    allowed_hosts: Words = _variable(
        "PATCHVOTE_ALLOWED_HOSTS",
        [],
        "Host names under which users reach the server, separated by commas, besides this host.",
        shown="this host",
    )
    trusted_origins: Words = _variable(
        "PATCHVOTE_TRUSTED_ORIGINS",
        [],
        "Origins that may send forms, with `https://`, separated by commas.",
        shown="this host",
    )
    proxies: WholeNumber = _variable(
        "PATCHVOTE_PROXIES",
        0,
        "Number of proxies in front of the web server. Only if there are any does Patchvote believe `X-Forwarded-For`, "
        "for API rates and for the audit log.",
    )
    token_days: WholeNumber = _variable("PATCHVOTE_TOKEN_DAYS", 90, "Days until an API token expires.")
    rate_submit: str = _variable(
        "PATCHVOTE_RATE_SUBMIT", "600/min", "API rate of submissions per user; each web process counts separately."
    )
    rate_read: str = _variable(
        "PATCHVOTE_RATE_READ", "6000/min", "API rate of reads per user; each web process counts separately."
    )
    rate_sign_in: str = _variable(
        "PATCHVOTE_RATE_SIGN_IN",
        "20/min",
        "API rate of token requests per address; each web process counts separately.",
    )
    debug: Flag = _variable(
        "PATCHVOTE_DEBUG", False, "Django's debug mode. Never set it where others can reach the server.", shown="off"
    )

    # --- uploads
    upload_max_mb: WholeNumber = _variable("PATCHVOTE_UPLOAD_MAX_MB", 20, "Maximum size of an image file, in MB.")
    upload_max_megapixels: WholeNumber = _variable(
        "PATCHVOTE_UPLOAD_MAX_MEGAPIXELS", 50, "Maximum size of an image, in megapixels."
    )
    upload_max_images: WholeNumber = _variable("PATCHVOTE_UPLOAD_MAX_IMAGES", 20, "Maximum number of images of a case.")
    data_set_max_mb: WholeNumber = _variable(
        "PATCHVOTE_DATA_SET_MAX_MB", 8192, "Maximum size of the zip of a data set that an admin uploads, in MB."
    )
    bundle_max_mb: WholeNumber = _variable(
        "PATCHVOTE_BUNDLE_MAX_MB", 2048, "Maximum size of a bundle that an admin uploads, in MB, packed and unpacked."
    )
    data_roots: Folders = _variable(
        "PATCHVOTE_DATA_ROOTS",
        None,
        "Folders, separated by colons, below which admins may choose data sets.",
        shown="`import/` in the data folder",
    )
    storage_margin_mb: WholeNumber = _variable(
        "PATCHVOTE_STORAGE_MARGIN_MB", 100, "Free space below which `/health/` reports the disk as full, in MB."
    )

    # --- inference
    device: str = _variable(
        "PATCHVOTE_DEVICE",
        "auto",
        "Device of inference: `cpu`, `cuda`, `cuda:1` … If the named device is missing, `make run` says so and a "
        "worker ends; with `auto`, inference uses the CPU instead.",
    )
    precision: Literal["auto", "float32", "float16", "bfloat16"] = _variable(
        "PATCHVOTE_PRECISION",
        "auto",
        "Number format of inference: `float32`, `float16` or `bfloat16`. `auto` measures float32 and bfloat16 on a "
        "CPU, all three on a GPU, and chooses the most exact one unless another one is at least a fifth faster. "
        "Workers on different machines may choose differently: name a format where that matters.",
    )
    inference_batch: WholeNumber = _variable(
        "PATCHVOTE_INFERENCE_BATCH",
        64,
        "Maximum number of images that a worker claims at once. It claims as many as fill one forward pass, and no "
        "more than its share of the waiting images.",
        least=1,
    )
    inference_niceness: WholeNumber = _variable(
        "PATCHVOTE_INFERENCE_NICENESS",
        10,
        "Niceness of inference processes: web pages and uploads on the same machine have priority.",
        least=0,
    )
    stall_seconds: WholeNumber = _variable(
        "PATCHVOTE_STALL_SECONDS",
        120,
        "Seconds without progress after which an inference worker ends itself.",
        least=60,
    )

    # --- training
    training_device: str = _variable(
        "PATCHVOTE_TRAINING_DEVICE", "", "Device of training.", shown="the device of inference"
    )
    training_niceness: WholeNumber = _variable(
        "PATCHVOTE_TRAINING_NICENESS",
        19,
        "Niceness of training processes: inference on the same machine has priority.",
    )
    training_max_attempts: WholeNumber = _variable(
        "PATCHVOTE_TRAINING_MAX_ATTEMPTS", 12, "Consecutive attempts without progress after which a training job fails."
    )
    promotion_fewest_patients: WholeNumber = _variable(
        "PATCHVOTE_PROMOTION_FEWEST_PATIENTS",
        5,
        "Number of patients below which the promotion after a comparison needs a reason.",
    )
    promotion_sensitivity_loss: Share = _variable(
        "PATCHVOTE_PROMOTION_SENSITIVITY_LOSS",
        0.02,
        "Loss of sensitivity against the champion, from 0 to 1, above which a promotion needs a reason.",
    )

    # --- the ledger of jobs
    lease_seconds: WholeNumber = _variable(
        "PATCHVOTE_LEASE_SECONDS",
        10,
        "Seconds of silence after which the jobs of a worker return to the queue. It renews its leases three times as "
        "often.",
        least=1,
    )
    sweep_seconds: WholeNumber = _variable(
        "PATCHVOTE_SWEEP_SECONDS", 2, "Seconds between two sweeps; more than 5 count as 5.", least=1
    )
    max_attempts: WholeNumber = _variable(
        "PATCHVOTE_MAX_ATTEMPTS", 4, "Attempts after which a lost analysis fails.", least=1
    )
    retry_seconds: WholeNumber = _variable(
        "PATCHVOTE_RETRY_SECONDS",
        3,
        "Seconds that a job waits after it was lost for the second time. The first time it does not wait; each further "
        "time it waits twice as long, up to a minute.",
        least=0,
    )
    cleaning_seconds: WholeNumber = _variable(
        "PATCHVOTE_CLEANING_SECONDS", 600, "Seconds between two cleanings by the sweep.", least=1
    )
    orphan_seconds: WholeNumber = _variable(
        "PATCHVOTE_ORPHAN_SECONDS",
        3600,
        "Seconds for which the cleaning keeps a file that belongs to no database row; never less than a request takes.",
        least=30,
    )

    # --- log and time
    log_format: Literal["plain", "json"] = _variable(
        "PATCHVOTE_LOG_FORMAT",
        "plain",
        "Format of the log: `plain`, or `json` for one object per line (see docs/monitoring.md).",
    )
    log_level: str = _variable("PATCHVOTE_LOG_LEVEL", "INFO", "Level from which events are logged.")
    time_zone: str = _variable("PATCHVOTE_TIME_ZONE", "UTC", "Time zone of the pages.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read the environment only: no .env file and no folder of secrets."""
        del settings_cls, init_settings, dotenv_settings, file_secret_settings
        return (env_settings,)

    @model_validator(mode="before")
    @classmethod
    def _drop_empty(cls, values: dict[str, str]) -> dict[str, str]:
        return {name: value.strip() for name, value in values.items() if value.strip()}

    @classmethod
    def read(cls) -> Self:
        """Return the values of the environment.

        Raises:
            SystemExit: If a value is invalid. The message has one sentence per invalid variable, which names it.
        """
        try:
            return cls()
        except ValidationError as error:
            raise SystemExit("\n".join(map(_sentence, error.errors()))) from None

    @classmethod
    def names(cls) -> set[str]:
        """Return the names of all variables."""
        return {str(field.alias) for field in cls.model_fields.values()}


def _sentence(error: ErrorDetails) -> str:
    name, given, problem = error["loc"][0], error["input"], error["msg"]
    if error["type"] == "literal_error":
        field = next(field for field in Environment.model_fields.values() if field.alias == name)
        problem = f"must be one of {', '.join(get_args(field.annotation))}, not {given!r}"
    elif error["type"] == "greater_than_equal":
        problem = f"must be at least {error['ctx']['ge']}, not {given}"
    return f"{name} {problem}."


def unknown_variables() -> list[str]:
    """Return the names of variables that look like ours but are none, such as misspelled ones."""
    return sorted(name for name in os.environ if name.startswith(PREFIX) and name not in Environment.names())


def table() -> str:
    """Return the table of all variables in Markdown, as docs/operation.md contains it."""
    rows = [
        f"| `{field.alias}` | {cast('dict[str, str]', field.json_schema_extra)['shown']} | {field.description} |"
        for field in Environment.model_fields.values()
    ]
    return "\n".join(["| variable | default | meaning |", "| --- | --- | --- |", *rows])


if __name__ == "__main__":
    sys.stdout.write(f"{table()}\n")
