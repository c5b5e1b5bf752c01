"""Pages in a real browser: a console without errors, both languages, without JavaScript, with the keyboard alone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from django.template.loader import get_template
from playwright.sync_api import Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PAGES = [
    "/cases/",
    "/cases/new/",
    "/account/",
    "/account/password/",
    "/admin/",
    "/admin/cases/case/",
    "/admin/cases/analysis/",
    "/admin/registry/modelversion/",
    "/admin/accounts/user/add/",
]


def overflow(page: Page) -> int:
    """Pixels by which a page is wider than the window."""
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


def test_pages_load_without_complaint(visit: Any) -> None:
    page = visit.signed_in()
    for path in PAGES:
        answer = page.goto(path, wait_until="networkidle")
        assert answer is not None and answer.ok, path
        expect(page.locator("body")).to_contain_text("Patchvote")


def test_the_api_docs_work_offline(visit: Any, stack: Any) -> None:
    page = visit.signed_in()
    elsewhere: list[str] = []
    page.on("request", lambda request: elsewhere.append(request.url))
    page.goto("/api/v1/docs/", wait_until="networkidle")
    expect(page.locator(".opblock").first).to_be_visible()
    page.locator(".opblock-summary").first.click()
    expect(page.locator(".opblock-body").first).to_be_visible()
    assert not [url for url in elsewhere if not url.startswith((stack.url, "data:"))]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_screen_needs_no_sideways_scrolling(visit: Any, submitted: Any, scheme: str) -> None:
    page = visit.signed_in(viewport={"width": 360, "height": 740}, color_scheme=scheme)
    submitted(page, reference="a-reference-without-any-space-" * 3)
    assert overflow(page) == 0
    for path in ("/cases/", "/cases/new/", "/account/"):
        page.goto(path)
        assert overflow(page) == 0, path


def test_the_history_is_searched(visit: Any, submitted: Any) -> None:
    page = visit.signed_in()
    submitted(page, reference="heron")
    submitted(page, reference="magpie")
    page.goto("/cases/")
    page.fill("[name=q]", "hero")
    page.get_by_role("button", name="Search").click()
    expect(page.locator(".history tbody tr")).to_have_count(1)
    expect(page.locator(".history .reference a")).to_have_text("heron")
    page.fill("[name=q]", "no such bird")
    page.get_by_role("button", name="Search").click()
    expect(page.locator("main")).to_contain_text("No case matches.")


def test_spanish(visit: Any, submitted: Any) -> None:
    page = visit.signed_in()
    page.get_by_role("button", name="ES", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Historial")
    assert page.locator("html").get_attribute("lang") == "es"
    submitted(page)
    expect(page.locator(".summary .verdict")).to_have_text(re.compile("Benigno|Maligno"))
    expect(page.locator("main")).to_contain_text("Proporción de malignidad")
    expect(page.locator("footer")).to_contain_text("no es un diagnóstico")
    page.get_by_role("button", name="EN", exact=True).click()
    expect(page.locator("main")).to_contain_text("Malignant share")


def test_everything_works_without_javascript(visit: Any, picture: Path) -> None:
    page = visit.signed_in(java_script_enabled=False)
    page.goto("/cases/new/")
    page.set_input_files("input[type=file]", picture)
    page.fill("[name=reference]", "no script")
    page.click("#send")
    # The page reloads itself until there is a verdict.
    page.wait_for_selector(".summary .verdict:is(.benign, .malignant)", timeout=60_000)
    expect(page.locator(".votes .tile")).to_have_count(15)
    page.get_by_label("Show the votes").uncheck()
    expect(page.locator(".votes")).to_be_hidden()


def test_by_keyboard_alone(visit: Any, picture: Path, stack: Any) -> None:
    page = visit.open()
    page.goto("/account/sign-in/")
    expect(page.locator("[name=username]")).to_be_focused()
    page.keyboard.type("admin")
    page.keyboard.press("Tab")
    page.keyboard.type(stack.admin_password)
    page.keyboard.press("Enter")
    page.wait_for_url("**/cases/")

    page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_text("Skip to the content")
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_text("New case")
    page.keyboard.press("Enter")
    page.wait_for_url("**/cases/new/")

    page.locator("input[type=file]").focus()
    page.set_input_files("input[type=file]", picture)
    page.locator("[name=reference]").focus()
    page.keyboard.type("by keyboard")
    page.keyboard.press("Enter")
    page.wait_for_selector(".summary .verdict:is(.benign, .malignant)", timeout=60_000)
    expect(page.get_by_role("heading", level=1)).to_have_text("Case by keyboard")


def test_tokens_are_shown_once_and_revoked(visit: Any) -> None:
    page = visit.signed_in()
    page.goto("/account/")
    page.get_by_role("button", name="Create a token").click()
    token = page.locator(".secret").inner_text()
    assert len(token) > 30
    tokens = page.locator("tbody tr").count()
    page.reload()
    expect(page.locator(".secret")).to_have_count(0)
    expect(page.locator("tbody tr")).to_have_count(tokens)
    page.get_by_role("button", name=f"Revoke {token[:8]}").click()
    expect(page.locator(".note")).to_have_text("The token was revoked.")


def test_a_wrong_password(visit: Any) -> None:
    page = visit.open()
    page.goto("/account/sign-in/")
    page.fill("[name=username]", "nobody")
    page.fill("[name=password]", "wrong")
    page.press("[name=password]", "Enter")
    expect(page.locator(".errorlist")).to_be_visible()
    expect(page.locator("[name=password]")).to_be_focused()


def test_a_form_without_its_token_is_refused_in_plain_words(visit: Any) -> None:
    visit.expected.append("403 (Forbidden)")
    page = visit.open()
    page.goto("/account/sign-in/")
    page.evaluate("document.querySelectorAll('[name=csrfmiddlewaretoken]').forEach((input) => input.remove())")
    page.fill("[name=username]", "admin")
    page.fill("[name=password]", "whatever")
    page.press("[name=password]", "Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("This form has expired")


@pytest.mark.parametrize("name", ["400", "403", "403_csrf", "404", "429", "500"])
def test_error_pages_need_neither_request_nor_database(settings: Any, name: str) -> None:
    settings.STORAGES = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    }
    page = get_template(f"{name}.html").render()
    assert "<h1>" in page
    assert "Patchvote" in page
