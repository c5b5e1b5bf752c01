"""The pages whose cost is measured, by user."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from benchmarks.history_cases import FEW, MANY, SEES_ALL
from benchmarks.history_databases import Databases
from patchvote.accounts.models import User
from patchvote.cases.models import Case
from patchvote.core.pagination import BoundedPaginator
from patchvote.jobs.models import OPEN_STATES

_EVERYBODY = (FEW, MANY, SEES_ALL)
_SEARCHERS = (MANY, SEES_ALL)
_REVIEWERS = (SEES_ALL,)

PAGES: tuple[tuple[str, Sequence[str], str], ...] = (
    ("history", _EVERYBODY, "/cases/"),
    ("history, a page in the middle", _SEARCHERS, "/cases/?page={history_middle}"),
    ("history, last page", _EVERYBODY, "/cases/?page=last"),
    ("history, failed", _SEARCHERS, "/cases/?state=failed"),
    ("history, queued", _SEARCHERS, "/cases/?state=queued"),
    ("history, malignant", _SEARCHERS, "/cases/?verdict=malignant"),
    ("history, five weeks", _SEARCHERS, "/cases/?created_after={from_day}&created_before={to_day}"),
    ("history, search that finds one", _SEARCHERS, "/cases/?q={reference}"),
    ("history, search that finds half", _SEARCHERS, "/cases/?q=biopsy"),
    ("history, search that finds nothing", _SEARCHERS, "/cases/?q=nowhere"),
    ("history, not reviewed yet", _REVIEWERS, "/cases/?review=awaiting"),
    ("history, reviewed", _REVIEWERS, "/cases/?review=reviewed"),
    ("history, reviewer disagrees", _REVIEWERS, "/cases/?review=disputed"),
    ("case", _EVERYBODY, "/cases/{ended}/"),
    ("case, status of an ended one", _SEARCHERS, "/cases/{ended}/status/"),
    ("case, status of an open one", _SEARCHERS, "/cases/{open}/status/"),
    ("next case to review", _REVIEWERS, "/cases/next-review/"),
    ("agreement", _REVIEWERS, "/cases/agreement/"),
    ("API, list", _EVERYBODY, "/api/v1/cases/"),
    ("API, a page in the middle", _SEARCHERS, "/api/v1/cases/?page={middle}"),
    ("API, last page", _SEARCHERS, "/api/v1/cases/?page={last}"),
    ("API, oldest first", _SEARCHERS, "/api/v1/cases/?ordering=created_at"),
    ("API, by state", _SEARCHERS, "/api/v1/cases/?ordering=state"),
    ("API, by verdict downwards", _SEARCHERS, "/api/v1/cases/?ordering=-verdict"),
    ("API, by reference", _SEARCHERS, "/api/v1/cases/?ordering=reference"),
    ("API, queued", _SEARCHERS, "/api/v1/cases/?state=queued"),
    ("API, malignant", _SEARCHERS, "/api/v1/cases/?verdict=malignant"),
    ("API, by part of a reference", _SEARCHERS, "/api/v1/cases/?reference={reference}"),
    ("API, five weeks", _SEARCHERS, "/api/v1/cases/?created_after={from_day}&created_before={to_day}"),
    ("API, case", _EVERYBODY, "/api/v1/cases/{ended}/"),
    ("API, analyses of a case", _SEARCHERS, "/api/v1/cases/{ended}/analyses/"),
)
"""The name, the users, and the address template of each page."""

_FINE = {200, 302}
_PAGE = 25


@dataclass(frozen=True)
class Measured:
    """The cost of a page for one user, by database.

    Attributes:
        name: The name of the page.
        person: The user.
        milliseconds: The median times.
        queries: The numbers of queries.
        kilobytes: The sizes of the responses: a page with more rows may take longer.
        slowest: The seconds and SQL of the slowest query in the last database.
    """

    name: str
    person: str
    milliseconds: dict[str, float]
    queries: dict[str, int]
    kilobytes: dict[str, float]
    slowest: tuple[float, str]

    @property
    def ratio(self) -> float:
        """The ratio of the last database's time to the first's."""
        first, *_, last = self.milliseconds.values()
        return last / first

    def as_dict(self) -> dict[str, Any]:
        """Return the cost as JSON-compatible data."""
        return {name: value for name, value in asdict(self).items() if name != "slowest"} | {"ratio": self.ratio}


class Visitor:
    """One user, signed in with one database."""

    def __init__(self, name: str) -> None:
        """Sign in with the current database, and look up the ids that addresses need."""
        person = User.objects.get(username=name)
        self._client = Client(SERVER_NAME="localhost")
        self._client.force_login(person, "django.contrib.auth.backends.ModelBackend")
        seen = Case.objects.visible_to(person)
        count = seen.count()
        ended = seen.exclude(state__in=OPEN_STATES).exclude(verdict="").first()
        waiting = seen.filter(state__in=OPEN_STATES).first() or ended
        assert ended is not None
        assert waiting is not None
        self._values = {
            "last": _pages(count),
            "middle": (_pages(count) + 1) // 2,
            "history_middle": (_pages(min(count, BoundedPaginator.most)) + 1) // 2,
            "ended": ended.pk,
            "open": waiting.pk,
            "reference": ended.reference,
            "from_day": f"{ended.created_at - timedelta(weeks=6):%Y-%m-%d}",
            "to_day": f"{ended.created_at - timedelta(weeks=1):%Y-%m-%d}",
        }

    def address(self, pattern: str) -> str:
        """Return the address of a page in this database."""
        return pattern.format(**self._values)

    def get(self, address: str) -> tuple[float, float]:
        """Return the seconds of a request and the kilobytes of its response."""
        began = time.perf_counter()
        answer = self._client.get(address)
        seconds = time.perf_counter() - began
        if answer.status_code not in _FINE:
            raise RuntimeError(f"{address} answered {answer.status_code}.")
        return seconds, len(answer.content) / 1000


def _pages(cases: int) -> int:
    return -(-cases // _PAGE)


def measure(databases: Databases, repeats: int, wanted: str = "") -> Iterator[Measured]:
    """Request the pages of each user whose names start with a prefix, from each database in turn."""
    visitors: dict[str, dict[str, Visitor]] = {}
    for name in databases.names:
        databases.use(name)
        visitors[name] = {person: Visitor(person) for person in _EVERYBODY}
    for page, people, pattern in PAGES:
        if not page.startswith(wanted):
            continue
        for person in people:
            asked = {name: visitors[name][person] for name in databases.names}
            addressed = {name: (one, one.address(pattern)) for name, one in asked.items()}
            yield _measure(databases, page, person, addressed, repeats)


def _measure(
    databases: Databases, page: str, person: str, asked: dict[str, tuple[Visitor, str]], repeats: int
) -> Measured:
    seconds: dict[str, list[float]] = {name: [] for name in asked}
    queries: dict[str, int] = {}
    kilobytes: dict[str, float] = {}
    slowest = (0.0, "")
    for _ in range(repeats):
        for name, (visitor, address) in asked.items():
            databases.use(name)
            visitor.get(address)  # a connection that serves has read its first pages
            seconds[name].append(visitor.get(address)[0])
    for name, (visitor, address) in asked.items():
        databases.use(name)
        visitor.get(address)
        with CaptureQueriesContext(connection) as captured:
            kilobytes[name] = visitor.get(address)[1]
        queries[name] = len(captured)
        slowest = max((float(query["time"]), query["sql"]) for query in captured.captured_queries)
    milliseconds = {name: 1000 * statistics.median(values) for name, values in seconds.items()}
    return Measured(page, person, milliseconds, queries, kilobytes, slowest)
