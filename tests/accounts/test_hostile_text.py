"""Text that no database keeps (a NUL) or that is longer than its column is refused, never an error of the server."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

pytestmark = pytest.mark.django_db

NUL = "a\x00b"
LONG = "x" * 10_000


@pytest.fixture
def admin(make_user: Any, client: Client) -> Client:
    user = make_user("root", "admin")
    user.is_superuser = True
    user.save()
    client.force_login(user)
    return client


@pytest.mark.parametrize("text", [NUL, LONG], ids=["nul", "long"])
def test_in_what_is_signed_in_with(client: Client, text: str) -> None:
    page = client.post("/account/sign-in/", {"username": text, "password": text}, HTTP_USER_AGENT=LONG)
    assert page.status_code == 200
    answer = client.post("/api/v1/tokens/", {"username": text, "password": "x"}, content_type="application/json")
    assert answer.status_code in {400, 401}
    answer = client.post("/api/v1/tokens/", {"username": "x", "password": text}, content_type="application/json")
    assert answer.status_code in {400, 401}


def test_a_name_that_is_too_long_is_locked_out_as_well(client: Client, settings: Any) -> None:
    for _ in range(settings.AXES_FAILURE_LIMIT + 1):
        page = client.post("/account/sign-in/", {"username": LONG, "password": "x"})
    assert page.status_code == 429


@pytest.mark.parametrize("text", [NUL, LONG], ids=["nul", "long"])
def test_in_the_name_of_a_session(client: Client, settings: Any, text: str) -> None:
    client.cookies[settings.SESSION_COOKIE_NAME] = text  # sent as "a\\000b", which Django reads as it was
    refused = 400 if text == NUL else None
    assert client.get("/cases/").status_code == (refused or 302)
    assert client.get("/api/v1/cases/").status_code == (refused or 401)


@pytest.mark.parametrize("path", ["/account/tokens/a%00b/revoke/", "/admin/jobs/worker/a%00b/change/", "/api/v1/%00/"])
def test_in_an_address(admin: Client, path: str) -> None:
    assert admin.post(path).status_code == 400


@pytest.mark.parametrize(
    "path",
    [
        "/cases/?q=", "/cases/?reference=", "/cases/?state=", "/cases/?page=", "/api/v1/cases/?q=",
        "/api/v1/cases/?ordering=", "/api/v1/cases/?verdict=", "/admin/cases/case/?q=", "/admin/accounts/user/?q=",
        "/admin/auditlog/logentry/?q=", "/admin/registry/modelversion/?q=",
    ],
)  # fmt: skip
@pytest.mark.parametrize("text", ["a%00b", "%00", LONG[:3000]], ids=["nul", "only-nul", "long"])
def test_in_what_is_searched(admin: Client, path: str, text: str) -> None:
    assert admin.get(path + text).status_code < 500
