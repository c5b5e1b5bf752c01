"""How far models and reviewers agree, in numbers and on the page."""

import random
import re
import xml.dom.minidom
from datetime import date, datetime, timedelta
from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.db import connection
from django.db.models import F
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from patchvote.cases import services
from patchvote.cases.models import Case, Decision, Review, ReviewTally
from patchvote.cases.review import agreement
from patchvote.cases.review import services as reviews
from patchvote.cases.review.agreement import Agreement

UTC = timezone.get_default_timezone()


def recount() -> list[tuple[Any, ...]]:
    """Tallies made anew, as the migration made them from the reviews that were there."""
    ReviewTally.objects.all().delete()
    import_module("patchvote.cases.migrations.0006_review_tally").tally(apps, None)
    return tallies()


def tallies() -> list[tuple[Any, ...]]:
    columns = ("day", "model_version", "decision", "label", "images")
    return sorted(ReviewTally.objects.exclude(images=0).values_list(*columns))


@pytest.fixture
def add(submit: Any, ana: Any, rita: Any, give_verdicts: Any) -> Any:
    """Adds a reviewed case: `add("malignant", "corrected", datetime(...))`."""

    def store(verdict: str, decision: str, when: datetime | None = None, **fields: Any) -> Case:
        case = submit(ana, **fields)
        give_verdicts(verdict)
        said = reviews.review(case.images.get(), rita, decision)
        if when:
            Review.objects.filter(pk=said.pk).update(created_at=when)
            recount()
        case.refresh_from_db()
        return case

    return store


def test_without_reviews_nothing_is_claimed(db: None) -> None:
    found = agreement.load_agreement()
    none = found.total()
    assert (none.images, none.share, none.interval) == (0, None, None)
    assert found.over_time(weekly=True) == []
    assert found.by_version() == []


def test_every_kind_of_review_is_counted_apart(add: Any) -> None:
    for verdict, decision in (
        ("malignant", "confirmed"), ("benign", "confirmed"), ("benign", "confirmed"), ("malignant", "corrected"),
        ("benign", "corrected"), ("benign", "corrected"), ("malignant", "unfit"),
    ):  # fmt: skip
        add(verdict, decision)
    found = agreement.load_agreement().total()
    assert found == Agreement(confirmed=3, malignant_to_benign=1, benign_to_malignant=2, unfit=1)
    assert (found.judged, found.images, found.share) == (6, 7, 0.5)


def test_the_interval_is_wilsons() -> None:
    """Newcombe (1998), Statistics in Medicine 17, 857: 81 of 263, 15 of 148, 0 of 20, 1 of 29 by Wilson's score."""
    published = {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0.0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }
    for (confirmed, judged), bounds in published.items():
        found = Agreement(confirmed=confirmed, benign_to_malignant=judged - confirmed, unfit=5)
        assert found.interval == pytest.approx(bounds, abs=6e-5)


def test_an_image_counts_once_for_each_version_by_its_latest_review(
    add: Any, rita: Any, second_version: Any, tiny_champion: Any, give_verdicts: Any
) -> None:
    case = add("malignant", "confirmed")
    image = case.images.get()
    reviews.review(image, rita, "corrected")
    services.analyse_again(case, second_version)
    give_verdicts("benign")
    reviews.review(image, rita, "confirmed")
    found = agreement.load_agreement()
    assert found.total(tiny_champion) == Agreement(malignant_to_benign=1)
    assert found.total(second_version) == Agreement(confirmed=1)
    assert found.by_version() == [
        (second_version, Agreement(confirmed=1)),
        (tiny_champion, Agreement(malignant_to_benign=1)),
    ]
    assert found.total().images == 2


@pytest.mark.parametrize("seed", range(3))
def test_tallies_follow_whatever_is_said_in_whatever_order(
    add: Any, rita: Any, second_version: Any, tiny_champion: Any, give_verdicts: Any, seed: int
) -> None:
    chance = random.Random(seed)
    cases = [add("malignant", "confirmed"), add("benign", "corrected"), add("benign", "unfit", synthetic=True)]
    for number in range(30):
        case = chance.choice(cases)
        if number == 15:  # from here on it is the next day
            Review.objects.update(created_at=F("created_at") - timedelta(days=1))
            recount()
        if chance.random() < 0.2:
            services.analyse_again(case, chance.choice([second_version, tiny_champion]))
            give_verdicts(chance.choice(["benign", "malignant"]))
        reviews.review(case.images.get(), rita, chance.choice(Decision.values), comment=str(number))
    assert tallies() == recount()
    assert len(tallies()) > 1


def test_synthetic_samples_do_not_count(add: Any) -> None:
    add("malignant", "confirmed", synthetic=True)
    assert agreement.load_agreement().total().images == 0


def test_spans_hold_their_beginning(add: Any) -> None:
    monday, next_monday = datetime(2026, 3, 2, tzinfo=UTC), datetime(2026, 3, 9, tzinfo=UTC)
    add("malignant", "confirmed", monday)
    add("malignant", "corrected", next_monday)
    assert agreement.load_agreement(since=monday.date()).total() == Agreement(confirmed=1, malignant_to_benign=1)
    assert agreement.load_agreement(since=next_monday.date()).total() == Agreement(malignant_to_benign=1)


def test_weeks_begin_on_monday_and_months_on_the_first(add: Any) -> None:
    add("malignant", "confirmed", datetime(2026, 3, 1, 23, 59, tzinfo=UTC))  # a Sunday
    add("malignant", "corrected", datetime(2026, 3, 2, tzinfo=UTC))
    add("benign", "corrected", datetime(2026, 3, 31, tzinfo=UTC))
    confirmed, down, up = Agreement(confirmed=1), Agreement(malignant_to_benign=1), Agreement(benign_to_malignant=1)
    found = agreement.load_agreement()
    assert found.over_time(weekly=True) == [
        (date(2026, 2, 23), confirmed), (date(2026, 3, 2), down), (date(2026, 3, 30), up),
    ]  # fmt: skip
    assert found.over_time(weekly=False) == [
        (date(2026, 3, 1), Agreement(confirmed=1, malignant_to_benign=1, benign_to_malignant=1))
    ]


# --- the page --------------------------------------------------------------------------------------------------------


def chart_of(page: str) -> Any:
    drawing = re.search(r'<svg [^>]*class="chart".*?</svg>', page, flags=re.DOTALL)
    assert drawing is not None
    return xml.dom.minidom.parseString(drawing[0])


def test_the_page_has_a_chart_and_tables(client: Client, add: Any, rita: Any, second_version: Any) -> None:
    now = timezone.now()
    for weeks in range(4):
        add("malignant", "confirmed", now - timedelta(weeks=weeks))
    add("malignant", "corrected", now)
    client.force_login(rita)
    answer = client.get("/cases/agreement/")
    page = answer.content.decode()
    assert "4 of 5 verdicts were confirmed" in page and "80.0" in page
    assert page.count('scope="row"') == 4 + 1  # weeks and versions
    words = {"".join(node.data for node in text.childNodes) for text in chart_of(page).getElementsByTagName("text")}
    assert {"agreement", "images", "confirmed", "malignant → benign", "100%"} <= words


def test_the_chart_lives_with_the_content_security_policy(client: Client, add: Any, rita: Any) -> None:
    add("malignant", "confirmed")
    client.force_login(rita)
    answer = client.get("/cases/agreement/")
    assert "style-src" not in answer["Content-Security-Policy"]  # so default-src 'self' holds for styles
    main = answer.content.decode().partition("<main")[2]
    assert "<style" not in main and "style=" not in main
    assert "currentColor" in main


@pytest.mark.parametrize(("query", "images"), [("", 1), ("span=year", 2), ("span=all", 3), ("span=nonsense", 1)])
def test_the_span_is_chosen(client: Client, add: Any, rita: Any, query: str, images: int) -> None:
    for days in (1, 200, 800):
        add("malignant", "confirmed", timezone.now() - timedelta(days=days))
    client.force_login(rita)
    answer = client.get(f"/cases/agreement/?{query}")
    assert (answer.status_code, answer.context["total"].images) == (200, images)


def test_the_version_is_chosen(client: Client, add: Any, rita: Any, second_version: Any, tiny_champion: Any) -> None:
    add("malignant", "confirmed")
    client.force_login(rita)
    assert client.get(f"/cases/agreement/?version={tiny_champion.pk}").context["total"].images == 1
    empty = client.get(f"/cases/agreement/?version={second_version.pk}").content.decode()
    assert "No image was reviewed in this time span." in empty and "<svg" not in empty
    assert client.get("/cases/agreement/?version=nonsense").status_code == 200


def test_a_span_of_unfit_images_alone_has_a_chart_without_points(client: Client, add: Any, rita: Any) -> None:
    add("malignant", "unfit")
    client.force_login(rita)
    page = client.get("/cases/agreement/").content.decode()
    assert "All reviewed images are unfit." in page
    chart_of(page)


def test_the_page_needs_as_many_queries_for_many_reviews(client: Client, add: Any, rita: Any) -> None:
    client.force_login(rita)

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            client.get("/cases/agreement/?span=all")
        return len(captured)

    add("malignant", "confirmed")
    few = queries()
    for days in range(0, 300, 40):
        add("benign", "corrected", timezone.now() - timedelta(days=days))
    assert queries() == few


def test_spanish_readers_get_a_spanish_number(client: Client, add: Any, rita: Any) -> None:
    for decision in ("confirmed", "confirmed", "corrected"):
        add("malignant", decision)
    client.force_login(rita)
    assert "66,7" in client.get("/cases/agreement/", headers={"Accept-Language": "es"}).content.decode()
