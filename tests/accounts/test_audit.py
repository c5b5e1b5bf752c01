"""Who did what and when: kept, readable, and out of reach."""

from typing import Any

import pytest
from auditlog.models import LogEntry
from django.contrib.auth.models import Group
from django.test import Client
from knox.models import AuthToken

from patchvote.accounts import audit, audit_sentences
from patchvote.accounts.models import User

pytestmark = pytest.mark.django_db
TOKENS = "/api/v1/tokens/"
AUDIT_LOG = "/admin/auditlog/logentry/"


def told(*acts: str) -> list[tuple[str, str]]:
    """Who and what, of entries of these acts, oldest first."""
    entries = LogEntry.objects.filter(additional_data__act__in=acts).order_by("pk")
    return [(audit_sentences.actor_name(entry), audit_sentences.sentence(entry)) for entry in entries]


def test_signing_in_and_out(client: Client, make_user: Any) -> None:
    make_user("ana")
    client.post("/account/sign-in/", {"username": "ana", "password": "wrong"})
    client.post("/account/sign-in/", {"username": "ana", "password": "ana-secret-word"})
    client.post("/account/sign-out/")
    assert told("signed_in", "signed_out", "sign_in_failed") == [
        ("", "a sign-in as “ana” failed"),
        ("ana", "signed in"),
        ("ana", "signed out"),
    ]
    assert set(LogEntry.objects.exclude(additional_data__act="created").values_list("remote_addr", flat=True)) >= {
        "127.0.0.1"
    }


def test_tokens_without_their_digest(client: Client, api: Any, make_user: Any) -> None:
    ana = make_user("ana")
    api().post(TOKENS, {"username": "ana", "password": "wrong"})
    api().post(TOKENS, {"username": "ana", "password": "ana-secret-word"})
    token = AuthToken.objects.get()
    client.force_login(ana)
    client.post(f"/account/tokens/{token.token_key}/revoke/")
    assert told("token_made", "token_revoked") == [
        ("ana", f"made the API token {token.token_key}… of ana"),
        ("ana", f"revoked the API token {token.token_key}… of ana"),
    ]
    kept = str(list(LogEntry.objects.values()))
    assert token.digest not in kept
    assert "secret-word" not in kept


def test_the_admin_who_changes_a_person(client: Client, make_user: Any) -> None:
    boss, ana = make_user("boss", "admin"), make_user("ana")
    client.force_login(boss)
    form = {"username": "ana", "first_name": "Ana", "groups": Group.objects.get(name="reviewer").pk, "is_active": "on"}
    assert client.post(f"/admin/accounts/user/{ana.pk}/change/", form).status_code == 302
    client.post(f"/admin/accounts/user/{ana.pk}/password/", {
        "usable_password": "true", "password1": "another-long-word", "password2": "another-long-word",
    })  # fmt: skip
    said = [sentence for who, sentence in told("changed") if who == "boss"]
    assert "changed the user ana: first name → Ana" in said
    assert "changed the user ana: groups + reviewer" in said
    assert "changed the user ana: groups - submitter" in said
    assert "changed the user ana: password" in said
    assert User.objects.get(pk=ana.pk).password not in str(list(LogEntry.objects.values()))
    assert not [sentence for sentence in said if "last login" in sentence]


def test_a_person_with_a_token_is_the_actor(api: Any, make_user: Any, tiny_champion: Any, upload: Any) -> None:
    answer = api(make_user("ana")).post(
        "/api/v1/cases/", {"images": [upload()], "reference": "B-7"}, format="multipart", REMOTE_ADDR="10.1.2.3"
    )
    assert answer.status_code == 202
    assert told("submitted") == [("ana", "submitted the case B-7")]
    entry = LogEntry.objects.get(additional_data__act="submitted")
    assert (entry.remote_addr, entry.object_pk) == ("10.1.2.3", answer.json()["id"])


def test_looking_and_working_cost_nothing(
    client: Client, make_user: Any, submit: Any, finish: Any, django_assert_num_queries: Any
) -> None:
    ana = make_user("ana")
    client.force_login(ana)
    case = submit(ana)
    before = LogEntry.objects.count()
    client.get(case.get_absolute_url())
    client.get("/cases/")
    finish()
    assert LogEntry.objects.count() == before


def test_a_submission_gains_one_query(make_user: Any, submit: Any) -> None:
    from auditlog.context import disable_auditlog
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    ana = make_user("ana")
    submit(ana)
    with CaptureQueriesContext(connection) as told_of:
        submit(ana)
    with disable_auditlog(), CaptureQueriesContext(connection) as silent:
        submit(ana)
    assert len(told_of) - len(silent) <= 1


def test_promotions_and_their_reasons(make_user: Any, tiny_champion: Any, tiny_bundle: Any, tmp_path: Any) -> None:
    from classifier import bundle
    from patchvote.registry import promotions, services

    boss = make_user("boss", "admin")
    metadata = tiny_bundle.metadata.model_copy(update={"threshold": 0.3})
    other = bundle.save(tmp_path / "other", tiny_bundle.module().state_dict(), metadata)
    version = services.register(other.folder, by=boss, tried=True)
    promotions.promote(version, by=boss, reason="a better one, they say")
    promotions.roll_back(by=boss)
    assert told("registered", "promote", "rollback") == [
        ("", "registered the model tiny v1"),
        ("", "promoted tiny v1"),
        ("boss", "registered the model tiny v2"),
        ("boss", "promoted tiny v2, against the result of the comparison: a better one, they say"),
        ("boss", "rolled back to tiny v1"),
    ]


def test_acts_that_change_no_row_are_recorded(make_user: Any, submit: Any) -> None:
    ana, boss = make_user("ana"), make_user("boss", "admin")
    case = submit(ana, reference="B-9")
    audit.record(boss, "cancelled", case, images=3)
    audit.record(None, "something_new", case)
    assert told("cancelled", "something_new") == [("boss", "cancelled the case B-9"), ("", "something_new: B-9")]
    assert LogEntry.objects.get(additional_data__act="cancelled").additional_data["images"] == 3


def test_entries_outlive_the_person_and_the_thing(client: Client, make_user: Any) -> None:
    boss, ana = make_user("boss", "admin"), make_user("ana")
    client.force_login(boss)
    client.post(f"/admin/accounts/user/{ana.pk}/delete/", {"post": "yes"})
    assert not User.objects.filter(username="ana").exists()
    User.objects.get(username="boss").delete()
    assert ("boss", "deleted the user ana") in told("deleted")
    assert ("boss", "signed in") in told("signed_in")


def test_the_audit_log_is_read_by_admins_and_changed_by_nobody(client: Client, make_user: Any) -> None:
    boss = make_user("boss", "admin")
    client.force_login(boss)
    page = client.get(AUDIT_LOG)
    assert "signed in" in page.content.decode()
    entry = LogEntry.objects.latest("pk")
    assert client.get(f"{AUDIT_LOG}{entry.pk}/change/").status_code == 200
    assert client.get(f"{AUDIT_LOG}?act=signed_in&actor__id__exact={boss.pk}&q=boss").status_code == 200
    for path in ("add/", f"{entry.pk}/change/", f"{entry.pk}/delete/"):
        assert client.post(f"{AUDIT_LOG}{path}", {"post": "yes"}).status_code == 403
    client.post(AUDIT_LOG, {"action": "delete_selected", "_selected_action": entry.pk, "post": "yes"})
    assert LogEntry.objects.filter(pk=entry.pk).exists()
    client.force_login(make_user("ana", "reviewer"))
    assert client.get(AUDIT_LOG).status_code == 302


def test_the_list_asks_as_often_for_many_as_for_few(client: Client, make_user: Any, submit: Any) -> None:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    boss = make_user("boss", "admin")
    client.force_login(boss)
    client.get(AUDIT_LOG)
    with CaptureQueriesContext(connection) as few:
        client.get(AUDIT_LOG)
    for number in range(8):
        submit(make_user(f"user-{number}"))
    with CaptureQueriesContext(connection) as many:
        client.get(AUDIT_LOG)
    assert len(many) <= len(few)


@pytest.mark.parametrize(
    ("proxies", "forwarded", "expected"),
    [
        (0, "6.6.6.6", "127.0.0.1"),
        (1, "6.6.6.6", "6.6.6.6"),
        (1, "1.1.1.1, 6.6.6.6", "6.6.6.6"),
        (2, "1.1.1.1, 6.6.6.6", "1.1.1.1"),
        (1, "nonsense", None),
    ],
)
def test_addresses_that_clients_claim(rf: Any, settings: Any, proxies: int, forwarded: str, expected: str) -> None:
    settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "NUM_PROXIES": proxies}
    assert audit.client_address(rf.get("/", headers={"X-Forwarded-For": forwarded})) == expected
