"""Pages of a real browser that remember of what the browser complained."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Browser, ConsoleMessage, Page, Response, StorageState

from testing.stack import Stack


class Watched:
    """Opens pages of an installation and notes each complaint of their consoles.

    Attributes:
        stack: The installation.
        complaints: Console errors and warnings, uncaught exceptions and server errors so far.
        expected: Parts of complaints that a test provokes.
    """

    def __init__(self, browser: Browser, stack: Stack, session: StorageState | None = None) -> None:
        """Open nothing yet.

        Args:
            browser: The browser.
            stack: The installation.
            session: The cookies of a user who signed in before.
        """
        self._browser = browser
        self._session = session
        self._contexts: list[Any] = []
        self.stack = stack
        self.complaints: list[str] = []
        self.expected: list[str] = []

    def open(self, **options: Any) -> Page:
        """Return the page of a new visitor.

        Args:
            options: Options of Playwright's `new_context`.
        """
        context = self._browser.new_context(base_url=self.stack.url, **options)
        context.set_default_timeout(30_000)
        self._contexts.append(context)
        page = context.new_page()
        page.on("console", self._note_message)
        page.on("pageerror", lambda error: self._complain(page, str(error)))
        page.on("response", lambda response: self._note_response(page, response))
        return page

    def signed_in(self, **options: Any) -> Page:
        """Return the list of cases of the user who signed in before."""
        page = self.open(storage_state=self._session, **options)
        page.goto("/cases/")
        return page

    def sign_in(self, name: str, password: str) -> Page:
        """Sign a user in with the form and return the list of cases."""
        page = self.open()
        page.goto("/account/sign-in/")
        page.fill("[name=username]", name)
        page.fill("[name=password]", password)
        page.press("[name=password]", "Enter")
        page.wait_for_url("**/cases/")
        return page

    def close(self) -> None:
        """Close all pages.

        Raises:
            AssertionError: If the browser complained of something that no test expects.
        """
        for context in self._contexts:
            context.close()
        unexpected = [line for line in self.complaints if not any(part in line for part in self.expected)]
        assert not unexpected, "\n".join(unexpected)

    def _note_message(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(f"{message.page.url if message.page else ''}: {message.text}")

    def _note_response(self, page: Page, response: Response) -> None:
        if response.status >= 500:
            self._complain(page, f"{response.status}")

    def _complain(self, page: Page, text: str) -> None:
        self.complaints.append(f"{page.url}: {text}")
