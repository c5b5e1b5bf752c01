"""The next part of a worker's run is computed behind the present one; what becomes of it if that fails."""

from __future__ import annotations

from concurrent.futures import wait
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.db import OperationalError

from classifier.predictor import Pass, Predictor
from patchvote.cases import pixel_cache, services
from patchvote.cases.inference import batches
from patchvote.cases.models import Analysis
from patchvote.jobs import ledger
from patchvote.registry import promotions
from testing.cases import states
from testing.images import encode, noise


@pytest.fixture
def happened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a run does, in order: begins a pass of so many images, waits for one, stores so many results."""
    events: list[str] = []
    succeed, start, predictions = ledger.succeed, Predictor.start, Pass.predictions

    def stored(results: Any) -> None:
        some = list(results)
        succeed(some)
        events.append(f"stored {len(some)}")

    def begun(self: Any, images: Any) -> Any:
        events.append(f"begun {len(images)}")
        return start(self, images)

    def computed(self: Any, progress: Any) -> Any:
        found = predictions(self, progress)
        events.append("computed")
        return found

    monkeypatch.setattr(ledger, "succeed", stored)
    monkeypatch.setattr(Predictor, "start", begun)
    monkeypatch.setattr(Pass, "predictions", computed)
    may_follow = batches.Batch.may_follow

    def decoded_in_no_time(self: Any, part: Any) -> bool:
        wait(self.decoded)
        return may_follow(self, part)

    monkeypatch.setattr(batches.Batch, "may_follow", decoded_in_no_time)
    return events


def test_the_next_part_is_computed_while_results_are_stored(
    submit: Any, ana: Any, work: Any, claims: list[int], happened: list[str]
) -> None:
    for _ in range(10):
        submit(ana)
    work()
    assert happened == [
        "begun 4", "begun 4", "computed", "stored 4", "begun 2", "computed", "stored 4", "computed", "stored 2",
    ]  # fmt: skip
    assert states() == [("succeeded", 1)] * 10


def test_what_may_kill_the_worker_is_begun_once_all_else_is_stored(
    submit: Any, ana: Any, work: Any, claims: list[int], happened: list[str]
) -> None:
    for _ in range(5):
        submit(ana)
    newest = Analysis.objects.order_by("-queued_at").first()
    Analysis.objects.filter(pk=newest.pk).update(attempts=1)
    work()
    assert happened == ["begun 4", "computed", "stored 4", "begun 1", "computed", "stored 1"]


def test_what_cannot_be_begun_ahead_is_begun_in_its_turn(
    submit: Any, ana: Any, work: Any, claims: list[int], happened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(6):
        submit(ana)
    held = ledger.held
    asked: list[int] = []

    def locked_once(analyses: Any) -> Any:
        asked.append(len(analyses))
        if len(asked) == 2:
            raise OperationalError("database is locked")
        return held(analyses)

    monkeypatch.setattr(ledger, "held", locked_once)
    work()
    assert happened == ["begun 4", "computed", "stored 4", "begun 2", "computed", "stored 2"]
    assert states() == [("succeeded", 1)] * 6


def test_what_was_begun_ahead_is_given_back_by_a_worker_that_is_told_to_stop(
    submit: Any, ana: Any, work: Any, claims: list[int], happened: list[str], stop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(8):
        submit(ana)
    dropped: list[Pass] = []
    drop = Pass.drop

    def dropping(self: Pass) -> None:
        dropped.append(self)
        drop(self)

    monkeypatch.setattr(Pass, "drop", dropping)
    succeed = ledger.succeed

    def stopped_by_then(results: Any) -> None:
        succeed(results)
        stop()

    monkeypatch.setattr(ledger, "succeed", stopped_by_then)
    work()
    assert happened == ["begun 4", "begun 4", "computed", "stored 4"]
    assert len(dropped) == 1
    assert states() == [("queued", 0)] * 4 + [("succeeded", 1)] * 4


def test_what_is_cancelled_after_it_was_begun_ahead_is_not_waited_for(
    submit: Any, ana: Any, work: Any, claims: list[int], happened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = [submit(ana) for _ in range(8)]
    succeed = ledger.succeed

    def cancelled_by_then(results: Any) -> None:
        succeed(results)
        for case in cases[4:]:
            services.cancel(case)

    monkeypatch.setattr(ledger, "succeed", cancelled_by_then)
    work()
    assert happened == ["begun 4", "begun 4", "computed", "stored 4"]
    assert states() == [("cancelled", 1)] * 4 + [("succeeded", 1)] * 4


def test_a_part_that_fails_does_not_wait_for_the_next(
    submit: Any, ana: Any, work: Any, claims: list[int], happened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(6):
        submit(ana)
    predictions = Pass.predictions
    failures = iter([ValueError("a logit that is not a number")])

    def fails_once(self: Any, progress: Any) -> Any:
        found = predictions(self, progress)
        for failure in failures:
            raise failure
        return found

    monkeypatch.setattr(Pass, "predictions", fails_once)
    work()
    one_by_one = ["begun 1", "computed", "stored 1"] * 4
    assert happened[:3] == ["begun 4", "begun 2", "computed"]
    assert [event for event in happened[3:] if event != "begun 2"][:12] == one_by_one
    assert happened[-2:] == ["computed", "stored 2"]
    assert states() == [("succeeded", 1)] * 6


def test_a_part_of_another_version_is_begun_in_its_turn(
    submit: Any, ana: Any, work: Any, claims: list[int], happened: list[str], second_version: Any
) -> None:
    for _ in range(2):
        submit(ana)
    promotions.promote(second_version, gate=False)
    for _ in range(2):
        submit(ana)
    work()
    assert happened == ["begun 2", "computed", "stored 2"] * 2


def test_one_bad_image_of_a_part_begun_ahead_fails_alone(
    submit: Any, ana: Any, work: Any, claims: list[int], happened: list[str]
) -> None:
    for _ in range(6):
        submit(ana)
    bad = Analysis.objects.order_by("-queued_at").first()
    assert bad and bad.image.file.name
    pixel_cache.discard(bad.image)
    bad.image.file.storage.delete(bad.image.file.name)
    bad.image.file.save("small", ContentFile(encode(noise(100, 100))))  # no room for a patch
    work()
    bad.refresh_from_db()
    assert (bad.state, bad.error_code) == ("failed", "inference_failed")
    assert states() == [("failed", 1)] + [("succeeded", 1)] * 5
