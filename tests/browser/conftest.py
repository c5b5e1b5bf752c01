"""A real Chromium in front of a running installation. Whatever the browser complains of fails the test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

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
    """The browser that CHROMIUM names, else the first that is installed."""
    given = os.environ.get("CHROMIUM")
    return next(filter(None, map(shutil.which, [given] if given else NAMES)), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """For one module and no longer: while Playwright's event loop is there, Django refuses the database."""
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


class Watched:
    """Opens pages that remember what their console said."""

    def __init__(self, browser: Browser, stack: Stack) -> None:
        self._browser = browser
        self._contexts: list[Any] = []
        self.stack = stack
        self.complaints: list[str] = []
        self.expected: list[str] = []
        """Parts of complaints that a test provokes."""

    def open(self, **options: Any) -> Page:
        """A page of a new visitor."""
        context = self._browser.new_context(base_url=self.stack.url, **options)
        context.set_default_timeout(30_000)
        self._contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: said.type in {"error", "warning"} and self._complain(page, said.text))
        page.on("pageerror", lambda error: self._complain(page, str(error)))
        page.on("response", lambda answer: answer.status >= 500 and self._complain(page, f"{answer.status}"))
        return page

    def signed_in(self, name: str = "admin", password: str | None = None, **options: Any) -> Page:
        """A page of a person, on the history."""
        page = self.open(**options)
        page.goto("/account/sign-in/")
        page.fill("[name=username]", name)
        page.fill("[name=password]", password or self.stack.admin_password)
        page.press("[name=password]", "Enter")
        page.wait_for_url("**/cases/")
        return page

    def close(self) -> None:
        """Ends all visits; fails if a browser complained."""
        for context in self._contexts:
            context.close()
        unexpected = [line for line in self.complaints if not any(part in line for part in self.expected)]
        assert not unexpected, "\n".join(unexpected)

    def _complain(self, page: Page, text: str) -> None:
        self.complaints.append(f"{page.url}: {text}")


@pytest.fixture
def visit(browser: Browser, stack: Stack) -> Iterator[Watched]:
    watched = Watched(browser, stack)
    yield watched
    watched.close()


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
