"""axe-core finds no violation on any page, in the light and in the dark theme."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.slow]

VISITOR = [
    "/account/sign-in/",
    "/admin/login/",
    "/no/such/page/",
]
# Not /api/v1/docs/: all its content is Swagger UI's.
USER = [
    "/cases/",
    "/cases/?q=no+case+has+this+reference",
    "/cases/new/",
    "/cases/agreement/",
    "/cases/{case}/",
    "/cases/{case}/images/{image}/side-by-side/",
    "/account/",
    "/account/password/",
]
ADMIN = [
    "/admin/",
    "/admin/password_change/",
    "/admin/auth/group/",
    "/admin/accounts/user/",
    "/admin/accounts/user/add/",
    "/admin/accounts/user/{user}/change/",
    "/admin/auditlog/logentry/",
    "/admin/auditlog/logentry/{entry}/change/",
    "/admin/cases/analysis/",
    "/admin/cases/analysis/{analysis}/change/",
    "/admin/cases/case/",
    "/admin/cases/case/{case}/change/",
    "/admin/cases/image/",
    "/admin/cases/image/{image}/change/",
    "/admin/cases/review/",
    "/admin/jobs/worker/",
    "/admin/knox/authtoken/",
    "/admin/registry/bundleupload/",
    "/admin/registry/bundleupload/add/",
    "/admin/registry/modelversion/",
    "/admin/registry/modelversion/{model}/change/",
    "/admin/registry/modelversion/rollback/",
    "/admin/registry/promotion/",
    "/admin/training/comparison/",
    "/admin/training/dataset/",
    "/admin/training/dataset/add/",
    "/admin/training/trainingrun/",
    "/admin/training/trainingrun/add/",
]


@dataclass
class Subjects:
    """The ids of the rows whose pages are shown."""

    case: str
    image: str
    analysis: str
    model: str
    user: str
    entry: str


@pytest.fixture(scope="module")
def subjects(stack: Any, user_page: Page) -> Subjects:
    """A case with two analyses and a review; the audit log's newest entry."""
    from testing.images import encode, noise

    client = stack.client()
    case = client.finished(client.submit(encode(noise(seed=5100)), reference="accessible", notes="A note."))
    case = client.finished(client.post_json(f"cases/{case['id']}/reanalyse/", {}))
    image = case["images"][0]
    client.post_json(f"images/{image['id']}/reviews/", {"decision": "corrected", "comment": "A comment."}, status=201)
    return Subjects(
        case=case["id"],
        image=image["id"],
        analysis=image["analysis"]["id"],
        model=client.get("models/").json()["results"][0]["id"],
        user=row_in(user_page, "/admin/accounts/user/"),
        entry=row_in(user_page, "/admin/auditlog/logentry/"),
    )


def row_in(page: Page, path: str) -> str:
    """Return the primary key of the first row of a list of the admin site."""
    page.goto(path)
    link = page.locator("#result_list tbody th a").first.get_attribute("href")
    assert link
    return link.removesuffix("/change/").rpartition("/")[2]


@pytest.fixture(scope="module")
def visitor_page(browser: Browser, stack: Any) -> Iterator[Page]:
    """A page on which nobody is signed in."""
    context = browser.new_context(base_url=stack.url)
    yield context.new_page()
    context.close()


@pytest.mark.parametrize("path", VISITOR)
def test_pages_for_everybody(visitor_page: Page, accessible: Any, path: str) -> None:
    visitor_page.goto(path)
    accessible(visitor_page)


@pytest.mark.parametrize("path", USER)
def test_pages_for_users(user_page: Page, subjects: Subjects, accessible: Any, path: str) -> None:
    answer = user_page.goto(path.format_map(vars(subjects)), wait_until="networkidle")
    assert answer is not None and answer.ok
    accessible(user_page)


@pytest.mark.parametrize("path", ADMIN)
def test_pages_for_admins(user_page: Page, subjects: Subjects, accessible: Any, path: str) -> None:
    answer = user_page.goto(path.format_map(vars(subjects)))
    assert answer is not None and answer.ok
    accessible(user_page)


def test_a_case_that_waits(user_page: Page, stack: Any, accessible: Any, png: bytes) -> None:
    worker = stack.processes()["inference"]
    os.kill(worker, signal.SIGSTOP)
    try:
        case = stack.client().submit(png, reference="waits")
        user_page.goto(f"/cases/{case['id']}/")
        expect(user_page.locator(".summary .verdict.none")).to_be_visible()
        accessible(user_page)
    finally:
        os.kill(worker, signal.SIGCONT)


def test_a_form_with_errors(user_page: Page, accessible: Any) -> None:
    user_page.goto("/account/password/")
    for field in user_page.locator("main input[type=password]").all():
        field.fill("short")
    user_page.locator("main form button").click()
    expect(user_page.locator(".errorlist").first).to_be_visible()
    accessible(user_page)
