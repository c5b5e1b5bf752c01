"""The champion moves forward through the gate and back one step at a time, and every step is kept."""

import shutil
import threading
from typing import Any

import pytest
from django.db import connection

from patchvote.registry import promotions, services
from patchvote.registry.models import Promotion
from patchvote.registry.promotions import PromotionRefusedError
from testing.registry import evidence

REASON = "The laboratory's own images show it."


def steps() -> list[tuple[str, int, int | None]]:
    rows = Promotion.objects.order_by("pk").select_related("version", "previous")
    return [(row.kind, row.version.version, row.previous.version if row.previous else None) for row in rows]


def test_the_first_is_free_and_the_next_needs_a_comparison_or_a_reason(make_version: Any, make_user: Any) -> None:
    boss = make_user("boss", "admin")
    first, second = make_version(0.5), make_version(0.6)
    promotions.promote(first, by=boss)
    for reason in ("", "because", "   because   "):
        with pytest.raises(PromotionRefusedError, match=r"not compared.*at least 10 characters") as refused:
            promotions.promote(second, by=boss, reason=reason)
        assert refused.value.code == "not_compared"
    assert services.champion() == first
    promotions.promote(second, by=boss, reason=REASON)
    step = Promotion.objects.first()
    assert step is not None
    assert (step.version, step.previous, step.by, step.reason, step.overridden) == (second, first, boss, REASON, True)


def test_a_good_comparison_is_enough_and_kept(make_version: Any, make_user: Any) -> None:
    first, second = make_version(0.5), make_version(0.6)
    promotions.promote(first)
    said = evidence(champion=first.sha256, candidate=second.sha256)
    promotions.promote(second, by=make_user("boss", "admin"), evidence=said)
    step = Promotion.objects.first()
    assert step is not None
    assert (step.overridden, step.evidence) == (False, said.model_dump(mode="json"))


def test_a_worse_model_is_refused_unless_a_reason_is_given(make_version: Any) -> None:
    first, second = make_version(0.5), make_version(0.6)
    promotions.promote(first)
    worse = {"value": -0.1, "low": -0.2, "high": -0.05}
    said = evidence(champion=first.sha256, candidate=second.sha256, sensitivity=worse)
    with pytest.raises(PromotionRefusedError, match=r"-10\.0 percentage points"):
        promotions.promote(second, evidence=said)
    promotions.promote(second, evidence=said, reason=REASON)
    assert services.champion() == second


def test_going_back_never_leads_forward(make_version: Any) -> None:
    one, two, three = (make_version(threshold) for threshold in (0.1, 0.2, 0.3))
    for version in (one, two, three):
        promotions.promote(version, gate=False)
    assert promotions.rollback_target() == two
    assert promotions.roll_back(by=None) == two
    assert promotions.roll_back(by=None, reason="as before") == one
    assert promotions.rollback_target() is None
    with pytest.raises(PromotionRefusedError, match="no previous champion") as refused:
        promotions.roll_back(by=None)
    assert refused.value.code == "nothing_to_roll_back"
    promotions.promote(three, gate=False)
    assert promotions.roll_back(by=None) == one
    assert steps() == [
        ("promote", 1, None), ("promote", 2, 1), ("promote", 3, 2), ("rollback", 2, 3), ("rollback", 1, 2),
        ("promote", 3, 1), ("rollback", 1, 3),
    ]  # fmt: skip


def test_who_saw_another_champion_changes_nothing(make_version: Any) -> None:
    one, two, three = (make_version(threshold) for threshold in (0.1, 0.2, 0.3))
    for version in (one, two, three):
        promotions.promote(version, gate=False)
    assert promotions.roll_back(by=None, leaving=three) == two
    with pytest.raises(
        PromotionRefusedError, match="tiny v3 is no longer the champion; the current champion: tiny v2"
    ) as refused:
        promotions.roll_back(by=None, leaving=three)
    assert refused.value.code == "champion_changed"
    with pytest.raises(PromotionRefusedError, match="tiny v1 is no longer the champion") as refused:
        promotions.promote(three, reason=REASON, instead_of=one)
    assert refused.value.code == "champion_changed"
    assert (services.champion(), len(steps())) == (two, 4)
    promotions.promote(three, reason=REASON, instead_of=two)
    assert services.champion() == three


def test_what_would_serve_instead_of_nothing_that_was_seen_is_not_promoted(make_version: Any) -> None:
    one, two = make_version(0.1), make_version(0.2)
    with pytest.raises(PromotionRefusedError, match="tiny v1 is no longer the champion; the current champion: none"):
        promotions.promote(two, instead_of=one)
    assert steps() == [] and promotions.rollback_target() is None


@pytest.mark.django_db(transaction=True)
def test_two_that_go_back_at_once_go_one_step(make_version: Any) -> None:
    one, two, three = (make_version(threshold) for threshold in (0.1, 0.2, 0.3))
    for version in (one, two, three):
        promotions.promote(version, gate=False)
    together = threading.Barrier(2)
    said: list[str] = []

    def go_back() -> None:
        try:
            together.wait()
            said.append(str(promotions.roll_back(by=None, leaving=three)))
        except PromotionRefusedError as error:
            said.append(error.code)
        finally:
            connection.close()

    threads = [threading.Thread(target=go_back) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(said) == ["champion_changed", "tiny v2"]
    assert services.champion() == two


def test_a_bundle_that_is_gone_or_changed_cannot_serve(make_version: Any) -> None:
    one, two = make_version(0.1), make_version(0.2)
    promotions.promote(one, gate=False)
    (two.folder / "model.safetensors").write_bytes(b"no")
    with pytest.raises(PromotionRefusedError, match="tiny v2 are missing or were changed") as refused:
        promotions.promote(two, gate=False)
    assert refused.value.code == "bundle_unsound"
    promotions.promote(make_version(0.3), gate=False)
    shutil.rmtree(one.folder)
    with pytest.raises(PromotionRefusedError, match="tiny v1 are missing"):
        promotions.roll_back(by=None)
    assert services.champion().version == 3
    assert [kind for kind, *_ in steps()] == ["promote", "promote"]


def test_the_champion_is_not_promoted_again(make_version: Any) -> None:
    one = make_version()
    promotions.promote(one)
    with pytest.raises(PromotionRefusedError, match="is the champion already"):
        promotions.promote(one, reason=REASON)
    promotions.promote(one, gate=False)  # a command that says so again
    assert steps() == [("promote", 1, None)]


def test_steps_are_never_changed(make_version: Any) -> None:
    promotions.promote(make_version())
    step = Promotion.objects.get()
    with pytest.raises(TypeError):
        step.save()
    with pytest.raises(TypeError):
        step.delete()


@pytest.mark.django_db(transaction=True)
def test_two_at_once_make_a_clean_history(make_version: Any) -> None:
    versions = [make_version(threshold) for threshold in (0.1, 0.2, 0.3, 0.4)]
    together = threading.Barrier(len(versions))
    refusals: list[str] = []

    def promote(version: Any) -> None:
        try:
            together.wait()
            promotions.promote(version, reason=REASON)
        except PromotionRefusedError as error:
            refusals.append(str(error))
        finally:
            connection.close()

    threads = [threading.Thread(target=promote, args=[version]) for version in versions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert refusals == []
    history = steps()
    assert len(history) == len(versions)
    assert [previous for _, _, previous in history] == [None, *(version for _, version, _ in history[:-1])]
    assert services.champion().version == history[-1][1]


def test_new_cases_take_the_champion_of_their_moment(make_version: Any, submit: Any, make_user: Any) -> None:
    ana = make_user("ana")
    before = submit(ana)
    better = make_version(0.6)
    promotions.promote(better, gate=False)
    during = submit(ana)
    promotions.roll_back(by=None)
    versions = [case.images.get().analysis.model_version.version for case in (before, during, submit(ana))]
    assert versions == [1, 2, 1]
