"""Analysing again with a chosen version, and looking at several analyses of one image."""

import re
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from patchvote.cases import services
from patchvote.cases.models import Case
from patchvote.registry.models import ModelVersion


@pytest.fixture
def twice(case: Case, second_version: Any, give_verdicts: Any) -> Case:
    """The case, called benign by another version since."""
    services.analyse_again(case, second_version)
    give_verdicts("benign")
    case.refresh_from_db()
    return case


def url(case: Case) -> str:
    return f"/cases/{case.pk}/images/{case.images.get().pk}/side-by-side/"


def test_a_chosen_version_reads_the_images_and_the_old_analysis_keeps_its_own(
    case: Case, second_version: Any, tiny_champion: Any, work: Any
) -> None:
    services.analyse_again(case, second_version)
    work()
    image = case.images.get()
    assert image.analysis.state == "succeeded" and image.analysis.model_version == second_version
    [old] = image.analyses.filter(current=False)
    assert (old.model_version, old.verdict) == (tiny_champion, "malignant")


def test_without_a_version_the_champion_reads(twice: Case, tiny_champion: Any) -> None:
    services.analyse_again(twice)
    assert twice.images.get().analysis.model_version == tiny_champion


def test_a_version_that_needs_larger_images_is_refused(case: Case, second_version: Any) -> None:
    second_version.metadata["grid"]["size"] = 500
    second_version.save()
    with pytest.raises(services.UnsuitedError, match="at least 500 pixels"):
        services.analyse_again(case, second_version)
    case.refresh_from_db()
    assert case.state == "succeeded" and case.images.get().analyses.count() == 1


def test_a_version_whose_files_are_gone_is_not_taken_and_the_page_asks_no_disk(
    client: Client, case: Case, rita: Any, second_version: Any
) -> None:
    client.force_login(rita)
    assert str(second_version) in client.get(case.get_absolute_url()).content.decode()
    second_version.folder.rename(second_version.folder.with_name("elsewhere"))
    assert str(second_version) in client.get(case.get_absolute_url()).content.decode()
    answer = client.post(f"/cases/{case.pk}/analyse-again/", {"version": second_version.pk}, follow=True)
    assert "its files are missing" in answer.content.decode()
    refused = client.post(f"/api/v1/cases/{case.pk}/reanalyse/", {"model": str(second_version.pk)})
    assert (refused.status_code, refused.json()["code"]) == (409, "model_unsuited")
    assert case.images.get().analyses.count() == 1


def test_reviewers_choose_the_version_on_the_page_and_submitters_do_not(
    client: Client, case: Case, ana: Any, rita: Any, second_version: Any
) -> None:
    client.force_login(ana)
    assert "<select" not in client.get(case.get_absolute_url()).content.decode().partition("<main")[2]
    client.force_login(rita)
    client.post(f"/cases/{case.pk}/analyse-again/", {"version": second_version.pk})
    assert case.images.get().analysis.model_version == second_version


@pytest.mark.parametrize("kind", ["json", "multipart"])
def test_the_api_names_a_version(api: Any, rita: Any, case: Case, second_version: Any, kind: str) -> None:
    answer = api(rita).post(f"/api/v1/cases/{case.pk}/reanalyse/", {"model": str(second_version.pk)}, format=kind)
    assert answer.status_code == 202
    assert answer.json()["images"][0]["analysis"]["model"]["version"] == 2


def test_the_api_takes_no_body_and_refuses_nonsense(api: Any, ana: Any, rita: Any, case: Case) -> None:
    for wrong in ("x", "00000000-0000-0000-0000-000000000000"):
        refused = api(rita).post(f"/api/v1/cases/{case.pk}/reanalyse/", {"model": wrong}, format="json")
        assert refused.status_code == 400 and "model" in refused.json()
    assert api(rita).post(f"/api/v1/cases/{case.pk}/reanalyse/", [1], format="json").status_code == 400
    assert api(ana).post(f"/api/v1/cases/{case.pk}/reanalyse/").status_code == 202


def test_all_analyses_of_a_case_newest_first(api: Any, ana: Any, twice: Case) -> None:
    found = api(ana).get(f"/api/v1/cases/{twice.pk}/analyses/").json()
    assert found["count"] == 2
    assert [one["verdict"] for one in found["results"]] == ["benign", "malignant"]
    assert [one["current"] for one in found["results"]] == [True, False]
    assert [one["model"]["version"] for one in found["results"]] == [2, 1]
    assert {one["image"] for one in found["results"]} == {str(twice.images.get().pk)}
    assert all(len(one["votes"]) == 15 for one in found["results"])


# --- the page --------------------------------------------------------------------------------------------------------


def test_the_page_of_a_case_leads_to_the_comparison_once_there_are_two_verdicts(
    client: Client, case: Case, ana: Any, second_version: Any, give_verdicts: Any
) -> None:
    client.force_login(ana)
    assert "side-by-side" not in client.get(case.get_absolute_url()).content.decode()
    services.analyse_again(case, second_version)
    assert "side-by-side" not in client.get(case.get_absolute_url()).content.decode()
    give_verdicts("benign")
    assert url(case) in client.get(case.get_absolute_url()).content.decode()


def test_both_analyses_are_shown_with_their_votes(client: Client, twice: Case, ana: Any) -> None:
    client.force_login(ana)
    page = client.get(url(twice)).content.decode()
    newest, old = page.split("<article")[1:]
    assert "tiny v2" in newest and "Benign" in newest and "3 of 15" in newest
    assert "tiny v1" in old and "Malignant" in old and "12 of 15" in old
    assert newest.count('class="patch"') == old.count('class="patch"') == 15
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_others_can_be_chosen_and_the_newest_two_come_first(
    client: Client, twice: Case, ana: Any, give_verdicts: Any
) -> None:
    for _ in range(4):
        services.analyse_again(twice)
        give_verdicts("malignant")
        twice.refresh_from_db()
    client.force_login(ana)
    analyses = list(twice.images.get().analyses.all())
    assert client.get(url(twice)).context["shown"] == [one.pk for one in analyses[:2]]
    first, last = analyses[0], analyses[-1]
    assert client.get(url(twice), {"analysis": [str(last.pk), str(first.pk)]}).context["shown"] == [first.pk, last.pk]
    everything = client.get(url(twice), {"analysis": [str(one.pk) for one in analyses]})
    assert everything.content.decode().count("<article") == 4
    assert client.get(url(twice), {"analysis": "nonsense"}).context["shown"] == [one.pk for one in analyses[:2]]


def test_without_a_verdict_the_page_says_so(client: Client, submit: Any, ana: Any) -> None:
    client.force_login(ana)
    assert "has a verdict yet" in client.get(url(submit(ana))).content.decode()


def test_an_image_of_another_case_is_not_found(client: Client, submit: Any, twice: Case, ana: Any) -> None:
    client.force_login(ana)
    other = submit(ana)
    assert client.get(f"/cases/{other.pk}/images/{twice.images.get().pk}/side-by-side/").status_code == 404


def test_the_page_needs_as_many_queries_for_many_analyses(
    client: Client, twice: Case, ana: Any, give_verdicts: Any
) -> None:
    client.force_login(ana)

    def queries(path: str) -> int:
        with CaptureQueriesContext(connection) as captured:
            client.get(path)
        return len(captured)

    few = queries(url(twice)), queries(twice.get_absolute_url())
    for _ in range(3):
        services.analyse_again(twice)
        give_verdicts()
        twice.refresh_from_db()
    assert (queries(url(twice)), queries(twice.get_absolute_url())) == few


def test_unmade_for_the_magnification_is_said_for_each_version(client: Client, twice: Case, ana: Any) -> None:
    ModelVersion.objects.filter(version=2).update(metadata={"magnifications": ["400X"]})
    client.force_login(ana)
    newest, old = client.get(url(twice)).content.decode().split("<article")[1:]
    assert "do not rely on its verdict" in newest and "do not rely on its verdict" not in old
