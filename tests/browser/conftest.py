"""A real Chromium in front of a running installation. Whatever the browser complains of fails the test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, StorageState, sync_playwright

from testing.browser import Watched
from testing.images import encode, noise
from testing.stack import Stack

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def chromium() -> str | None:
    """Return the browser that CHROMIUM names, else the first that is installed."""
    given = os.environ.get("CHROMIUM")
    return next(filter(None, map(shutil.which, [given] if given else NAMES)), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser for one module and no longer: while Playwright's event loop runs, Django refuses the database."""
    executable = chromium()
    if executable is None:
        sentence = "no Chromium is installed (scripts/install-chromium)"
        if os.environ.get("CI") == "true":
            pytest.fail(sentence)
        pytest.skip(sentence)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture(scope="module")
def session(browser: Browser, stack: Stack) -> StorageState:
    """The cookies of the first admin, who signs in once per module."""
    watched = Watched(browser, stack)
    page = watched.sign_in("admin", stack.admin_password)
    cookies = page.context.storage_state()
    watched.close()
    return cookies


@pytest.fixture
def visit(browser: Browser, stack: Stack, session: StorageState) -> Iterator[Watched]:
    """Opens pages; fails the test if the browser complained of one of them."""
    watched = Watched(browser, stack, session)
    yield watched
    watched.close()


@pytest.fixture(scope="module")
def user_page(browser: Browser, stack: Stack, session: StorageState) -> Iterator[Page]:
    """A page on which the first admin is signed in."""
    context = browser.new_context(base_url=stack.url, storage_state=session)
    yield context.new_page()
    context.close()


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A file as the microscope saves it."""
    path = tmp_path / "slide.png"
    path.write_bytes(encode(noise(seed=int.from_bytes(os.urandom(4)))))
    return path


@pytest.fixture
def submitted(picture: Path) -> Any:
    """Submits a case with the form and waits for its verdict: `submitted(page, reference="B-1")`."""

    def submit(page: Page, *files: Path, reference: str = "") -> None:
        page.goto("/cases/new/")
        page.set_input_files("input[type=file]", files or [picture])
        page.fill("[name=reference]", reference)
        page.click("#send")
        page.wait_for_selector(".summary .verdict:is(.benign, .malignant)", timeout=60_000)

    return submit


IGNORED = [
    # Django's sign-in page has a form without a heading.
    ("/admin/login/", "page-has-heading-one", "html"),
    # Django's icons beside the lists of a field with several choices have a label and no role.
    ("/admin/", "aria-prohibited-attr", ".help-tooltip"),
    # The columns of Django's tables of related rows whose cells need no heading.
    ("/admin/", "empty-table-header", "th"),
]
"""Violations in Django's own templates: path, rule of axe-core, selector."""


@pytest.fixture(scope="session")
def accessible() -> Callable[[Page], None]:
    """Fails unless axe-core finds a page without violation in the light and in the dark theme."""
    axe = Axe()

    def check(page: Page) -> None:
        found = []
        for theme in ("light", "dark"):
            page.emulate_media(color_scheme=theme)
            page.evaluate("Promise.allSettled(document.getAnimations().map((transition) => transition.finished))")
            found += [f"{theme}: {line}" for line in _violations(axe, page)]
        assert not found, f"{page.url}\n" + "\n".join(found)

    return check


def _violations(axe: Axe, page: Page) -> Iterator[str]:
    for violation in axe.run(page).response["violations"]:
        for node in violation["nodes"]:
            target = " ".join(map(str, node["target"]))
            if not any(
                path in page.url and rule == violation["id"] and selector in target for path, rule, selector in IGNORED
            ):
                details = "; ".join(one["message"] for one in [*node["any"], *node["all"], *node["none"]])
                yield f"{violation['id']}: {violation['help']}\n    {target}: {node['html'][:200]}\n    {details}"
