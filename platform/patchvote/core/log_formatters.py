"""Lines of the log: for people, or one JSON object each for machines. `PATCHVOTE_LOG_FORMAT` chooses.

What a line is about (`case`, `analysis`, `worker`, `code` …) is given through `extra=`; both formats show it.
"""

from __future__ import annotations

import json
import logging
import logging.config
import re
from typing import Any

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

_NOT_FIELDS = frozenset({*RESERVED_ATTRS, "asctime", "message", "request", "data"})
"""Python's own attributes of a record, and those of Django and Celery that say the message again, or too much."""
_PLAIN_WORD = re.compile(r'[^\s"=]+')


class PlainFormatter(logging.Formatter):
    """A line for people, with what it is about at its end, as `case=… analysis=…`."""

    def __init__(self) -> None:
        super().__init__("{asctime} {levelname:7} {name}: {message}", style="{")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (Python's name)
        """The line without a traceback."""
        fields = [f" {key}={_word(value)}" for key, value in record.__dict__.items() if key not in _NOT_FIELDS]
        return super().formatMessage(record) + "".join(fields)


class ObjectFormatter(JsonFormatter):
    """One JSON object a line: time (UTC), level, logger, message, process, pid, and what it is about."""

    def __init__(self, process_name: str = "manage") -> None:
        """Set the fields.

        Args:
            process_name: The role of this process: web, inference, training, sweep or manage.
        """
        super().__init__(
            ["levelname", "name", "message", "process"],
            rename_fields={"levelname": "level", "name": "logger", "process": "pid"},
            static_fields={"process_name": process_name},
            timestamp="time",
            reserved_attrs=list(_NOT_FIELDS),
        )


def configure(config: dict[str, Any]) -> None:
    """As Python's own; warnings become lines of the log as well."""
    logging.config.dictConfig(config)
    logging.captureWarnings(capture=True)


def _word(value: object) -> str:
    text = str(value)
    return text if _PLAIN_WORD.fullmatch(text) else json.dumps(text, ensure_ascii=False)
