"""Lines of the log: what they are about, for people and for machines."""

import json
import logging
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from patchvote.cases import services
from patchvote.cases.models import Analysis
from patchvote.core.log_formatters import ObjectFormatter, PlainFormatter
from patchvote.jobs import ledger
from testing.paths import ROOT


def record(message: str = "Analysis stored", error: Any = None, **extra: Any) -> logging.LogRecord:
    """As a logger makes it."""
    return logging.getLogger("patchvote.test").makeRecord(
        "patchvote.test", logging.INFO, __file__, 1, message, (), error, extra=extra
    )


def raised() -> Any:
    try:
        int("no\ngood")
    except ValueError:
        return sys.exc_info()


def test_a_plain_line_ends_with_what_it_is_about() -> None:
    line = PlainFormatter().format(record(case="1-2", model='an "odd" name', request="<WSGIRequest>"))
    assert line.endswith(r'INFO    patchvote.test: Analysis stored case=1-2 model="an \"odd\" name"')
    assert PlainFormatter().format(record("Ready")).endswith("patchvote.test: Ready")


def test_a_plain_traceback_follows_the_line() -> None:
    first, *rest = PlainFormatter().format(record(error=raised(), code="x")).splitlines()
    assert first.endswith("stored code=x")
    assert rest[0].startswith("Traceback")


def test_an_object_is_one_line_with_everything() -> None:
    line = ObjectFormatter().format(record(error=raised(), case="1-2", attempt=2, request="<WSGIRequest>"))
    assert "\n" not in line
    said = json.loads(line)
    assert abs(datetime.fromisoformat(said.pop("time")) - datetime.now(UTC)) < timedelta(minutes=1)
    assert said.pop("exc_info").splitlines()[-1].startswith("ValueError: ")
    assert said == {
        "level": "INFO", "logger": "patchvote.test", "message": "Analysis stored", "pid": os.getpid(),
        "process_name": "manage", "case": "1-2", "attempt": 2,
    }  # fmt: skip


LOG = """
import logging, warnings, django
django.setup()
logging.getLogger("patchvote.test").info("said", extra={"case": "1-2"})
logging.getLogger("gunicorn.error").warning("from the web server")
warnings.warn("from a library")
"""


@pytest.mark.parametrize("given", ["", "json", "xml"])
def test_the_environment_chooses(given: str) -> None:
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "patchvote.config.settings", "PATCHVOTE_LOG_FORMAT": given}
    done = subprocess.run(
        [sys.executable, "-c", LOG], cwd=ROOT, env=environment, check=False, capture_output=True, text=True
    )
    if given == "xml":
        assert done.returncode and "PATCHVOTE_LOG_FORMAT must be one of plain, json" in done.stderr
    elif given == "json":
        lines = [json.loads(line) for line in done.stderr.splitlines()]
        assert [line["logger"] for line in lines] == ["patchvote.test", "gunicorn.error", "py.warnings"]
        assert lines[0]["case"] == "1-2"
    else:
        assert done.stderr.splitlines()[0].endswith("INFO    patchvote.test: said case=1-2")


@pytest.fixture
def steps(caplog: pytest.LogCaptureFixture) -> Any:
    """What was logged of a case: the line, the worker, the attempt and the error's code."""
    caplog.set_level(logging.INFO)

    def of(case: Any) -> list[tuple[Any, ...]]:
        lines = [line for line in caplog.records if getattr(line, "case", None) == str(case.pk)]
        return [
            (line.message, *(getattr(line, name) for name in ("worker", "attempt", "code") if hasattr(line, name)))
            for line in lines
        ]

    return of


def test_a_case_can_be_followed(submit: Any, make_user: Any, steps: Any, upload: Any) -> None:
    case = submit(make_user("ana"), upload(), upload())
    lost, _ = ledger.claim(Analysis, "w1", 2)
    Analysis.objects.update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    ledger.sweep(Analysis)
    [again] = ledger.claim(Analysis, "w2", 1)
    ledger.succeed([(lost, {"verdict": "benign"})])
    ledger.succeed([(again, {"verdict": "benign"})])
    [other] = ledger.claim(Analysis, "w2", 1)
    ledger.fail(other, "file_gone", "It is gone.")
    assert steps(case) == [
        ("case accepted",),
        ("Analysis claimed", "w1", 1),
        ("Analysis claimed", "w1", 1),
        ("Analysis requeued: its lease expired", 1),
        ("Analysis requeued: its lease expired", 1),
        ("Analysis claimed", "w2", 2),
        ("Analysis result discarded: it is no longer held", "w1", 1),
        ("Analysis stored", "w2", 2),
        ("Analysis claimed", "w2", 2),
        ("Analysis failed: It is gone.", "w2", 2, "file_gone"),
    ]
    case.refresh_from_db()
    services.analyse_again(case)
    services.cancel(case)
    assert steps(case)[10:] == [("case queued for a new analysis",), *[("Analysis cancelled", 0)] * 2]


def test_a_case_given_up_is_said(submit: Any, make_user: Any, steps: Any, settings: Any) -> None:
    settings.JOB_MAX_ATTEMPTS = 1
    case = submit(make_user("ana"))
    ledger.claim(Analysis, "w1", 1)
    Analysis.objects.update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    ledger.sweep(Analysis)
    assert steps(case)[-1] == ("Analysis failed: its lease expired", "w1", 1, "worker_lost")


def test_a_line_costs_no_query(
    submit: Any, make_user: Any, upload: Any, steps: Any, django_assert_num_queries: Any
) -> None:
    """The case's id comes along with the claim."""
    case = submit(make_user("ana"), upload(), upload())
    jobs = ledger.claim(Analysis, "w", 2)
    with django_assert_num_queries(0):
        assert [job.log_fields["case"] for job in jobs] == [str(case.pk)] * 2
