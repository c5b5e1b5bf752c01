"""Reviews on the pages of a case, in the history and in the admin, and who may do what."""

from typing import Any

import pytest
from django.test import Client

from patchvote.cases import services
from patchvote.cases.models import Analysis, Case, Review
from patchvote.cases.review import services as reviews
from patchvote.jobs import ledger
from testing.images import encode, noise


def post_review(client: Client, case: Case, **fields: Any) -> Any:
    image = case.images.get()
    fields = {"decision": "confirmed", "comment": "", "analysis": image.analysis.pk, **fields}
    return client.post(f"/cases/{case.pk}/images/{image.pk}/review/", fields)


def test_a_reviewer_comes_back_to_the_image_with_a_message(client: Client, case: Case, rita: Any) -> None:
    client.force_login(rita)
    image = case.images.get()
    page = client.get(case.get_absolute_url()).content.decode()
    assert f'id="review-{image.pk}"' in page and "Confirm: malignant" in page and "Correct to benign" in page
    answer = post_review(client, case, comment="Clear\ninvasion <b>")
    assert answer["Location"] == f"{case.get_absolute_url()}?reviewed={image.pk}#review-{image.pk}"
    page = client.get(answer["Location"]).content.decode()
    assert "The review was saved." in page and "Next case to review" in page
    assert "Clear<br>invasion &lt;b&gt;" in page and "rita" in page


def test_after_a_review_the_next_image_of_the_case_is_offered(
    client: Client, submit: Any, upload: Any, ana: Any, rita: Any, give_verdicts: Any
) -> None:
    case = submit(ana, upload(), upload(encode(noise(seed=2)), "other.png"))
    give_verdicts()
    first, second = case.images.all()
    client.force_login(rita)
    url = f"/cases/{case.pk}/images/{first.pk}/review/"
    answer = client.post(url, {"decision": "unfit", "analysis": first.analysis.pk}, follow=True)
    page = answer.content.decode()
    assert f'href="#review-{second.pk}"' in page and "Next image of this case: other.png" in page


def test_what_was_written_survives_a_refusal(client: Client, case: Case, rita: Any, give_verdicts: Any) -> None:
    client.force_login(rita)
    seen = case.images.get().analysis.pk
    services.analyse_again(case)
    give_verdicts("benign")
    answer = post_review(client, case, comment="half a thought", analysis=seen)
    page = answer.content.decode()
    assert answer.status_code == 409
    assert "half a thought" in page and "has been analysed again" in page
    assert not Review.objects.exists()


@pytest.mark.parametrize(
    "fields", [{"decision": ""}, {"decision": "perhaps"}, {"analysis": "x"}, {"comment": "x" * 2001}]
)
def test_what_is_wrong_is_said_beside_the_image(client: Client, case: Case, rita: Any, fields: dict[str, Any]) -> None:
    client.force_login(rita)
    answer = post_review(client, case, **fields)
    assert answer.status_code == 400
    assert "errorlist" in answer.content.decode().partition('class="card review"')[2]
    assert not Review.objects.exists()


def test_submitters_read_the_reviews_of_their_cases(client: Client, case: Case, ana: Any, rita: Any) -> None:
    reviews.review(case.images.get(), rita, "corrected", comment="no invasion")
    client.force_login(ana)
    page = client.get(case.get_absolute_url()).content.decode()
    assert "no invasion" in page and "rita" in page
    assert "Correct to" not in page and 'name="decision"' not in page and "Next case" not in page


def test_while_the_page_polls_it_has_no_form_to_lose(
    client: Client, submit: Any, upload: Any, ana: Any, rita: Any, give_verdicts: Any
) -> None:
    case = submit(ana, upload(), upload(encode(noise(seed=2))))
    client.force_login(rita)
    [job] = ledger.claim(Analysis, "w", 1)
    ledger.fail(job, "file_gone", "The file is gone.")
    polled = client.get(f"/cases/{case.pk}/status/").content.decode()
    assert "hx-trigger" in polled and "hx-preserve" in polled and "<textarea" not in polled
    give_verdicts()
    ended = client.get(f"/cases/{case.pk}/status/").content.decode()
    assert "hx-trigger" not in ended
    preserved = ended.split("</article>")
    assert ended.count("<textarea") == 2 and not any(
        "<textarea" in part.partition("hx-preserve")[2] for part in preserved
    )


def test_the_history_marks_and_filters(client: Client, submit: Any, ana: Any, rita: Any, give_verdicts: Any) -> None:
    for name, decision in (("B-open", ""), ("B-agreed", "confirmed"), ("B-disputed", "corrected")):
        case = submit(ana, reference=name)
        give_verdicts()
        if decision:
            reviews.review(case.images.get(), rita, decision)
    client.force_login(rita)
    everything = client.get("/cases/").content.decode()
    assert all(mark in everything for mark in (">not reviewed<", ">reviewed<", ">disagrees<"))
    for value, found in (
        ("awaiting", {"B-open"}),
        ("reviewed", {"B-agreed", "B-disputed"}),
        ("disputed", {"B-disputed"}),
    ):
        page = client.get("/cases/", {"review": value}).content.decode()
        assert {name for name in ("B-open", "B-agreed", "B-disputed") if name in page} == found
    client.force_login(ana)
    assert ">not reviewed<" not in client.get("/cases/").content.decode()


def test_the_next_case_is_led_to(
    client: Client, case: Case, submit: Any, ana: Any, rita: Any, give_verdicts: Any
) -> None:
    other = submit(ana)
    give_verdicts()
    client.force_login(rita)
    assert client.get("/cases/next-review/")["Location"] == case.get_absolute_url()
    assert client.get(f"/cases/next-review/?after={case.pk}")["Location"] == other.get_absolute_url()
    for one in (case, other):
        reviews.review(one.images.get(), rita, "confirmed")
    page = client.get("/cases/next-review/", follow=True)
    assert page.redirect_chain[-1][0] == "/cases/" and "No other case awaits" in page.content.decode()
    assert client.get("/cases/next-review/?after=nonsense").status_code == 404


PEOPLE = ["owner", "stranger", "reviewer", "admin", "nobody"]
ALLOWED = {
    "review page": (403, 404, 302, 302, "sign-in"),
    "review api": (403, 404, 201, 201, 401),
    "reviews api": (200, 404, 200, 200, 401),
    "analyses api": (200, 404, 200, 200, 401),
    "side by side": (200, 404, 200, 200, "sign-in"),
    "agreement": (403, 403, 200, 200, "sign-in"),
    "next": (403, 403, 302, 302, "sign-in"),
    "again with a version": (403, 404, 302, 302, "sign-in"),
    "again with a version, api": (403, 404, 202, 202, 401),
    "admin list": ("admin-sign-in", "admin-sign-in", "admin-sign-in", 200, "admin-sign-in"),
    "admin page": ("admin-sign-in", "admin-sign-in", "admin-sign-in", 200, "admin-sign-in"),
}


@pytest.mark.parametrize("number", range(len(PEOPLE)), ids=PEOPLE)
@pytest.mark.parametrize("act", ALLOWED)
def test_who_may(
    client: Client, make_user: Any, ana: Any, case: Case, second_version: Any, act: str, number: int
) -> None:
    image, version = case.images.get(), second_version.pk
    said = reviews.review(image, make_user("earlier", "reviewer"), "unfit")
    who = PEOPLE[number]
    if who != "nobody":
        client.force_login(ana if who == "owner" else make_user(who, "submitter" if who == "stranger" else who))
    api = f"/api/v1/images/{image.pk}/reviews/"
    answer: Any = {
        "review page": lambda: post_review(client, case),
        "review api": lambda: client.post(api, {"decision": "confirmed"}),
        "reviews api": lambda: client.get(api),
        "analyses api": lambda: client.get(f"/api/v1/cases/{case.pk}/analyses/"),
        "side by side": lambda: client.get(f"/cases/{case.pk}/images/{image.pk}/side-by-side/"),
        "agreement": lambda: client.get("/cases/agreement/"),
        "next": lambda: client.get("/cases/next-review/"),
        "again with a version": lambda: client.post(f"/cases/{case.pk}/analyse-again/", {"version": version}),
        "again with a version, api": lambda: client.post(f"/api/v1/cases/{case.pk}/reanalyse/", {"model": version}),
        "admin list": lambda: client.get("/admin/cases/review/"),
        "admin page": lambda: client.get(f"/admin/cases/review/{said.pk}/change/"),
    }[act]()
    expected = ALLOWED[act][number]
    if isinstance(expected, str):
        assert answer.status_code == 302
        assert answer["Location"].startswith("/account/sign-in/" if expected == "sign-in" else "/admin/login/")
    else:
        assert answer.status_code == expected
    added = Review.objects.count() - 1
    assert added == (act in {"review page", "review api"} and who in {"reviewer", "admin"})


def test_a_reviewers_role_is_all_it_takes_and_can_be_taken_away(client: Client, case: Case, rita: Any) -> None:
    client.force_login(rita)
    assert post_review(client, case).status_code == 302
    rita.groups.clear()
    assert post_review(client, case).status_code == 404


def test_the_admin_lists_reviews_and_changes_none(client: Client, case: Case, rita: Any, make_user: Any) -> None:
    said = reviews.review(case.images.get(), rita, "corrected", comment="no invasion")
    client.force_login(make_user("root", "admin"))
    version = said.analysis.model_version_id
    for query in (
        f"decision__exact=corrected&analysis__model_version__id__exact={version}&reviewer__id__exact={rita.pk}",
        f"image__case__id__exact={case.pk}",
        f"image__id__exact={said.image_id}",
    ):
        assert "no invasion" in client.get(f"/admin/cases/review/?{query}").content.decode()
    assert (
        f"/admin/cases/review/?image__case__id__exact={case.pk}"
        in client.get(f"/admin/cases/case/{case.pk}/change/").content.decode()
    )
    assert (
        f"/admin/cases/review/?image__id__exact={said.image_id}"
        in client.get(f"/admin/cases/image/{said.image_id}/change/").content.decode()
    )
    assert client.get("/admin/cases/review/add/").status_code == 403
    assert client.post(f"/admin/cases/review/{said.pk}/change/", {"comment": "x"}).status_code == 403
    assert client.post(f"/admin/cases/review/{said.pk}/delete/", {"post": "yes"}).status_code == 403


def test_queries_do_not_grow_with_images_and_reviews(
    client: Client, submit: Any, upload: Any, ana: Any, rita: Any, make_user: Any, give_verdicts: Any, api: Any,
    django_assert_max_num_queries: Any,
) -> None:  # fmt: skip
    for number in range(5):
        case = submit(ana, *(upload(encode(noise(seed=10 * number + i))) for i in range(4)))
        give_verdicts()
        for image in case.images.all():
            reviews.review(image, rita, "confirmed")
            reviews.review(image, make_user(f"r{image.pk}", "reviewer"), "corrected")
    client.force_login(rita)
    with django_assert_max_num_queries(14):
        client.get("/cases/")
    with django_assert_max_num_queries(12):
        assert len(api(rita).get("/api/v1/cases/").json()["results"][0]["images"][0]["reviews"]) == 2
    with django_assert_max_num_queries(16):  # one for the twins of each of the four images
        client.get(case.get_absolute_url())
