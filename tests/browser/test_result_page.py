"""The result page of a case, and how it follows the work."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_the_votes_can_be_taken_off_the_picture(visit: Any, submitted: Any) -> None:
    page = visit.signed_in()
    submitted(page)
    votes = page.locator(".votes")
    expect(votes).to_be_visible()
    page.get_by_label("Show the votes").uncheck()
    expect(votes).to_be_hidden()
    expect(page.locator(".frame img")).to_be_visible()


def test_a_patch_is_outlined_from_its_tile_and_from_the_table(visit: Any, submitted: Any) -> None:
    page = visit.signed_in()
    submitted(page)
    outline = page.locator(".patch .outline").nth(7)
    expect(outline).to_be_hidden()
    page.locator(".patch .reach").nth(7).hover()
    expect(outline).to_be_visible()
    assert outline.get_attribute("width") == "225"

    page.locator("h1").hover()
    expect(outline).to_be_hidden()
    page.click("text=Table of votes")
    page.get_by_role("link", name="2-3", exact=True).click()
    expect(outline).to_be_visible()


def test_analysing_again_keeps_the_earlier_analysis(visit: Any, submitted: Any) -> None:
    page = visit.signed_in()
    submitted(page)
    page.get_by_role("button", name="Analyse again").click()
    page.wait_for_selector(".summary .verdict:is(.benign, .malignant)")
    expect(page.locator("summary", has_text="Earlier analyses")).to_contain_text("(1)")


def test_the_same_picture_is_recognised(visit: Any, submitted: Any, picture: Path) -> None:
    page = visit.signed_in()
    submitted(page, picture, reference="first")
    submitted(page, picture, reference="second")
    expect(page.locator(".note", has_text="Same image as in case")).to_contain_text("first")


@contextmanager
def frozen_worker(stack: Any) -> Iterator[None]:
    """Let cases wait."""
    worker = stack.processes()["inference"]
    os.kill(worker, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(worker, signal.SIGCONT)


def test_polling_survives_a_server_that_is_away(visit: Any, picture: Path, stack: Any) -> None:
    visit.expected += ["net::ERR_", "htmx:"]
    page = visit.signed_in()
    page.goto("/cases/new/")
    page.set_input_files("input[type=file]", picture)
    page.route("**/status/**", lambda route: route.abort())
    with frozen_worker(stack):
        page.click("#send")
        page.wait_for_url(re.compile(r"/cases/[0-9a-f-]{36}/"))
        expect(page.locator("#announcement")).to_contain_text("The server does not respond")
    page.unroute("**/status/**")
    expect(page.locator(".summary .verdict:is(.benign, .malignant)")).to_be_visible(timeout=30_000)


def test_a_page_of_a_case_that_waits_polls_again_and_again(visit: Any, picture: Path, stack: Any) -> None:
    """Also at the slowest pace, when a delay is as long as the one before it."""
    page = visit.signed_in()
    unchanged: list[str] = []

    def at_one_pace(route: Any) -> None:
        answer = route.fetch()
        if answer.status == 304:
            unchanged.append(answer.headers["retry-after"])
        route.fulfill(response=answer, headers={**answer.headers, "retry-after": "0.3"})

    with frozen_worker(stack):
        page.goto("/cases/new/")
        page.set_input_files("input[type=file]", picture)
        page.route("**/status/**", at_one_pace)
        page.click("#send")
        page.wait_for_url(re.compile(r"/cases/[0-9a-f-]{36}/"))
        stack.wait_for(
            "five answers that nothing has changed", lambda: page.wait_for_timeout(100) or len(unchanged) > 4
        )
        expect(page.locator(".summary .verdict.none")).to_be_visible()
    expect(page.locator(".summary .verdict:is(.benign, .malignant)")).to_be_visible(timeout=30_000)


def test_others_cases_are_not_found(visit: Any, submitted: Any, stack: Any) -> None:
    admin = visit.signed_in()
    submitted(admin)
    stack.create_user("olga", "a long enough word", "submitter")
    visit.expected.append("404 (Not Found)")
    olga = visit.sign_in("olga", "a long enough word")
    olga.goto(admin.url)
    expect(olga.get_by_role("heading", level=1)).to_have_text("Page not found")
