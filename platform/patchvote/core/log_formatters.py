"""Formats of the log: plain lines, or one JSON object per line. `PATCHVOTE_LOG_FORMAT` selects the format.

Callers pass the fields of a line (`case`, `analysis`, `worker`, `code` …) through `extra=`; both formats show them.
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
"""Attributes of a record that are not logged as fields: Python's own, and redundant ones of Django and Celery."""
_PLAIN_WORD = re.compile(r'[^\s"=]+')


class PlainFormatter(logging.Formatter):
    """A formatter for plain lines that end with the fields, as `case=… analysis=…`."""

    def __init__(self) -> None:
        super().__init__("{asctime} {levelname:7} {name}: {message}", style="{")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (Python's name)
        """Return the line without the traceback."""
        fields = [f" {key}={_word(value)}" for key, value in record.__dict__.items() if key not in _NOT_FIELDS]
        return super().formatMessage(record) + "".join(fields)


class ObjectFormatter(JsonFormatter):
    """A formatter for one JSON object per line: time (UTC), level, logger, message, process, pid and the fields."""

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
    """Configure logging as Django does, and log Python's warnings as well."""
    logging.config.dictConfig(config)
    logging.captureWarnings(capture=True)


def _word(value: object) -> str:
    text = str(value)
    return text if _PLAIN_WORD.fullmatch(text) else json.dumps(text, ensure_ascii=False)
