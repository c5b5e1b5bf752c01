"""What is wrong with the server itself is said as what it is, and what was sent is not half stored."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError
from django.test import Client

from patchvote.cases import submissions
from patchvote.cases.models import Case
from patchvote.core.storage import DurableFileSystemStorage

FULL = OSError(errno.ENOSPC, "No space left on device")
LOCKED = OperationalError("database is locked")


@pytest.fixture
def page(client: Client, make_user: Any, tiny_champion: Any) -> Client:
    client.force_login(make_user("ana"))
    client.raise_request_exception = False
    return client


@pytest.fixture
def client_of_the_api(api: Any, make_user: Any, tiny_champion: Any) -> Any:
    client = api(make_user("ben"))
    client.raise_request_exception = False
    return client


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes saving fail: `broken(error)` when a file is written, `broken(error, Case)` when the row is."""

    def fail(error: Exception, owner: Any = DurableFileSystemStorage, name: str = "save") -> None:
        def failing(*_: Any, **__: Any) -> None:
            raise error

        monkeypatch.setattr(owner, name, failing)

    return fail


def nothing_is_stored(media: Path, error: Exception) -> bool:
    files = any(path.is_file() for path in media.rglob("*"))
    # Where a commit may have gone through, files wait for the sweep.
    return not Case.objects.exists() and (not files or submissions._may_be_stored(error))


@pytest.mark.parametrize(
    ("error", "owner", "status", "code"),
    [
        (FULL, DurableFileSystemStorage, 507, "storage_full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), DurableFileSystemStorage, 507, "storage_full"),
        (OperationalError("database or disk is full"), Case, 507, "storage_full"),
        (LOCKED, Case, 503, "busy"),
        (InterfaceError("connection already closed"), Case, 503, "busy"),
        (RuntimeError("a defect"), Case, 500, "error"),
        (OSError(errno.EIO, "Input/output error"), DurableFileSystemStorage, 500, "error"),
    ],
)
def test_clients_get_a_code(
    client_of_the_api: Any, upload: Any, media: Path, broken: Any, error: Exception, owner: Any, status: int, code: str
) -> None:
    broken(error, owner)
    answer = client_of_the_api.post("/api/v1/cases/", {"images": upload()})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.has_header("Retry-After") == (status != 500)
    assert nothing_is_stored(media, error)


@pytest.mark.parametrize(
    ("error", "owner", "status", "sentence"),
    [(FULL, DurableFileSystemStorage, 507, "disk is full"), (LOCKED, Case, 503, "is busy")],
)
def test_people_get_a_page(
    page: Client, upload: Any, media: Path, broken: Any, error: Exception, owner: Any, status: int, sentence: str
) -> None:
    broken(error, owner)
    answer = page.post("/cases/new/", {"images": upload(), "magnification": "40X"})
    assert answer.status_code == status
    assert sentence in answer.content.decode()
    assert nothing_is_stored(media, error)


def test_where_a_commit_may_have_gone_through_files_are_kept(
    client_of_the_api: Any, upload: Any, media: Path, broken: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL's answer to a commit can be lost on its way; the sweep removes the files if there is no row."""
    monkeypatch.setattr(submissions, "_may_be_stored", lambda _error: True)
    broken(OperationalError("server closed the connection unexpectedly"), Case)
    assert client_of_the_api.post("/api/v1/cases/", {"images": upload()}).status_code == 503
    assert len([path for path in media.rglob("*") if path.is_file()]) == 1
