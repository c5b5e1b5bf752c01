"""Roles, sign-in and tokens."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.test import Client
from django.utils import timezone
from knox.models import AuthToken

from patchvote.accounts.models import User

pytestmark = pytest.mark.django_db
TOKENS = "/api/v1/tokens/"


@pytest.fixture
def ana(make_user: Any) -> Any:
    return make_user("ana")


@pytest.mark.parametrize(
    ("role", "sees_all", "staff"), [("submitter", False, False), ("reviewer", True, False), ("admin", True, True)]
)
def test_roles(make_user: Any, role: str, sees_all: bool, staff: bool) -> None:
    user = User.objects.get(pk=make_user("x", role).pk)
    assert (user.sees_all_cases, user.is_staff) == (sees_all, staff)


def test_leaving_the_admins_closes_the_admin_site(make_user: Any) -> None:
    user = make_user("x", "admin")
    assert user.is_staff
    user.groups.remove(Group.objects.get(name="admin"))
    assert not user.is_staff
    Group.objects.get(name="admin").user_set.add(user)
    assert User.objects.get(pk=user.pk).is_staff
    Group.objects.get(name="admin").user_set.remove(user)
    assert not User.objects.get(pk=user.pk).is_staff
    root = User.objects.create_superuser("root2", password="x")
    root.groups.add(Group.objects.get(name="reviewer"))
    assert root.is_staff


def test_a_token_is_made_used_and_kept_as_a_hash(api: Any, ana: Any) -> None:
    answer = api().post(TOKENS, {"username": "ana", "password": "ana-secret-word"})
    assert answer.status_code == 201
    assert set(answer.json()) == {"token", "expires_at"}
    token = answer.json()["token"]
    stored = AuthToken.objects.get()
    assert token not in (stored.digest, stored.token_key)
    client = Client()
    assert client.get("/api/v1/cases/", headers={"Authorization": f"Token {token}"}).status_code == 200
    AuthToken.objects.update(expiry=timezone.now() - timedelta(seconds=1))
    expired = client.get("/api/v1/cases/", headers={"Authorization": f"Token {token}"})
    assert (expired.status_code, expired.json()["code"]) == (401, "authentication_failed")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"username": "ana", "password": "wrong"}, 401, "invalid_credentials"),
        ({"username": "nobody", "password": "wrong"}, 401, "invalid_credentials"),
        ({"username": "ana"}, 400, "required"),
        ({}, 400, "required"),
    ],
)
def test_wrong_credentials(api: Any, ana: Any, body: dict[str, str], status: int, code: str) -> None:
    answer = api().post(TOKENS, body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_an_inactive_person_gets_no_token_and_loses_theirs(api: Any, ana: Any) -> None:
    client = api(ana)
    ana.is_active = False
    ana.save()
    assert client.get("/api/v1/cases/").status_code == 401
    assert api().post(TOKENS, {"username": "ana", "password": "ana-secret-word"}).status_code == 401


@pytest.mark.parametrize("header", ["Token nonsense", "Token", "Bearer x"])
def test_a_wrong_token_is_401(client: Client, header: str) -> None:
    assert client.get("/api/v1/cases/", headers={"Authorization": header}).status_code == 401


def test_guessing_passwords_is_stopped(client: Client, ana: Any, settings: Any) -> None:
    from django.core.cache import cache

    cache.clear()
    settings.AXES_FAILURE_LIMIT = 3
    body = {"username": "ana", "password": "wrong"}
    statuses = [client.post(TOKENS, body).status_code for _ in range(4)]
    assert statuses[-1] == 429
    right = client.post(TOKENS, {"username": "ana", "password": "ana-secret-word"})
    assert (right.status_code, right.json()["code"]) == (429, "throttled")
    page = client.post("/account/sign-in/", {"username": "ana", "password": "ana-secret-word"})
    assert page.status_code == 429
    assert "text/html" in page["Content-Type"]


def test_signing_in_and_out(client: Client, ana: Any) -> None:
    assert client.get("/").status_code == 302
    assert client.get("/cases/")["Location"] == "/account/sign-in/?next=/cases/"
    wrong = client.post("/account/sign-in/", {"username": "ana", "password": "x"})
    assert wrong.status_code == 200
    assert "ana" in wrong.content.decode()
    right = client.post("/account/sign-in/?next=/cases/new/", {"username": "ana", "password": "ana-secret-word"})
    assert right["Location"] == "/cases/new/"
    evil = client.get("/account/sign-in/?next=https://evil.example/")
    assert "evil" not in evil.get("Location", "")
    assert client.post("/account/sign-out/").status_code == 302
    assert client.get("/cases/").status_code == 302


def test_tokens_on_the_account_page(client: Client, ana: Any, make_user: Any) -> None:
    client.force_login(ana)
    answer = client.post("/account/")
    assert (answer.status_code, answer["Location"]) == (302, "/account/")
    page = client.get("/account/")
    token = page.context["new_token"]
    assert token in page.content.decode()
    assert token not in client.get("/account/").content.decode()
    assert token not in str(dict(client.session))
    assert AuthToken.objects.count() == 1
    assert Client().get("/api/v1/cases/", headers={"Authorization": f"Token {token}"}).status_code == 200
    other, _ = AuthToken.objects.create(make_user("ben"))
    assert client.post(f"/account/tokens/{other.token_key}/revoke/").status_code == 404
    assert client.post(f"/account/tokens/{token[:15]}/revoke/").status_code == 302
    assert Client().get("/api/v1/cases/", headers={"Authorization": f"Token {token}"}).status_code == 401


def test_an_admin_makes_people_but_no_superusers(client: Client, make_user: Any) -> None:
    client.force_login(make_user("boss", "admin"))
    group = Group.objects.get(name="admin")
    form = {
        "username": "new",
        "usable_password": "true",
        "password1": "a-long-pass-word",
        "password2": "a-long-pass-word",
    }
    assert client.post("/admin/accounts/user/add/", {**form, "groups": group.pk}).status_code == 302
    new = User.objects.get(username="new")
    assert new.is_staff and not new.is_superuser
    change = {"username": "new", "groups": group.pk, "is_active": "on", "is_superuser": "on"}
    assert client.post(f"/admin/accounts/user/{new.pk}/change/", change).status_code == 302
    new.refresh_from_db()
    assert not new.is_superuser
    root = User.objects.create_superuser("root", password="x")
    assert client.get(f"/admin/accounts/user/{root.pk}/change/").status_code == 200  # to look at
    assert client.post(f"/admin/accounts/user/{root.pk}/change/", change).status_code == 403
    assert client.get(f"/admin/accounts/user/{root.pk}/password/").status_code == 403


def test_json_without_end_is_refused(client: Client) -> None:
    answer = client.post(TOKENS, "[" * 100_000, content_type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (400, "parse_error")


def test_an_address_that_a_client_claims_counts_for_nothing(client: Client, monkeypatch: Any) -> None:
    from django.core.cache import cache

    from patchvote.accounts.api import SignInThrottle

    cache.clear()
    monkeypatch.setattr(SignInThrottle, "THROTTLE_RATES", {"sign-in": "3/min"})
    statuses = [
        client.post(
            TOKENS, {"username": f"u{n}", "password": "x"}, headers={"X-Forwarded-For": f"10.0.0.{n}"}
        ).status_code
        for n in range(5)
    ]
    assert statuses == [401, 401, 401, 429, 429]
    cache.clear()


def test_nobody_sends_files_without_signing_in(client: Client) -> None:
    from django.core.files.uploadedfile import SimpleUploadedFile

    big = SimpleUploadedFile("big.png", b"0" * 2_000_000)
    answer = client.post(TOKENS, {"username": "a", "password": "b", "file": big})
    assert (answer.status_code, answer.json()["code"]) == (413, "too_many_bytes")
    assert answer.json()["detail"] == "Sign in before you send files."


def test_the_roles_cannot_be_changed_in_the_admin(client: Client, make_user: Any) -> None:
    client.force_login(make_user("boss", "admin"))
    group = Group.objects.get(name="reviewer")
    assert client.get(f"/admin/auth/group/{group.pk}/change/").status_code == 200
    for path in ("add/", f"{group.pk}/delete/"):
        assert client.post(f"/admin/auth/group/{path}", {"name": "x", "post": "yes"}).status_code == 403
    assert client.post(f"/admin/auth/group/{group.pk}/change/", {"name": "x"}).status_code == 403
    assert client.get("/admin/registry/alias/").status_code == 404
