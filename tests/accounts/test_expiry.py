"""What opens nothing any more is deleted when the sweep cleans."""

from datetime import timedelta
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.test import Client
from django.utils import timezone
from knox.models import AuthToken

from patchvote.core.signals import cleaning


@pytest.fixture
def ana(make_user: Any) -> Any:
    return make_user("ana")


def test_expired_tokens_go_and_others_stay(ana: Any) -> None:
    old, _ = AuthToken.objects.create(ana, expiry=timedelta(days=1))
    AuthToken.objects.filter(pk=old.pk).update(expiry=timezone.now() - timedelta(seconds=1))
    lasting, _ = AuthToken.objects.create(ana, expiry=None)
    young, _ = AuthToken.objects.create(ana)
    cleaning.send(sender=None)
    assert set(AuthToken.objects.all()) == {lasting, young}


def test_expired_sessions_go_and_others_stay(client: Client, ana: Any) -> None:
    client.force_login(ana)
    old = SessionStore()
    old.set_expiry(-10)
    old.save()
    assert Session.objects.count() == 2
    cleaning.send(sender=None)
    assert [session.session_key for session in Session.objects.all()] == [client.session.session_key]


def test_wrong_passwords_are_forgiven_after_the_lock(db: None, settings: Any) -> None:
    attempts = [AccessAttempt.objects.create(username=name, failures_since_start=3) for name in ("old", "young")]
    AccessAttempt.objects.filter(pk=attempts[0].pk).update(attempt_time=timezone.now() - 3 * settings.AXES_COOLOFF_TIME)
    cleaning.send(sender=None)
    assert list(AccessAttempt.objects.values_list("username", flat=True)) == ["young"]


def test_a_failure_of_one_keeps_no_other_from_cleaning(ana: Any, caplog: Any) -> None:
    from patchvote.jobs.management.commands.sweep import _clean

    def fails(**_: Any) -> None:
        raise RuntimeError("no cleaning today")

    AuthToken.objects.create(ana)
    AuthToken.objects.update(expiry=timezone.now() - timedelta(seconds=1))
    cleaning.connect(fails, dispatch_uid="fails")
    try:
        _clean()
    finally:
        cleaning.disconnect(dispatch_uid="fails")
    assert not AuthToken.objects.exists()
    assert "no cleaning today" in caplog.text


def test_sweeping_once_works_on_an_empty_database(db: None) -> None:
    call_command("sweep", "--once")
