"""The pages without a browser."""

from __future__ import annotations

import re

import requests

from testing.faults.installation import Installation


class SignedIn:
    """The pages as the first admin sees them after signing in."""

    def __init__(self, on: Installation) -> None:
        """Sign in."""
        self._url = on.url
        self._session = requests.Session()
        answer = self.post("/account/sign-in/", {"username": "admin", "password": on.admin_password})
        assert "sign-in" not in answer.url, answer.text

    def get(self, path: str) -> requests.Response:
        """Return the answer to a request for a page."""
        return self._session.get(f"{self._url}{path}", timeout=60)

    def post(self, path: str, fields: dict[str, str], **files: tuple[str, bytes]) -> requests.Response:
        """Send the form of a page."""
        (token,) = set(re.findall(r'name="csrfmiddlewaretoken" value="([^"]+)"', self.get(path).text)) or {""}
        fields = {**fields, "csrfmiddlewaretoken": token}
        return self._session.post(
            f"{self._url}{path}", data=fields, files=files, headers={"Referer": self._url}, timeout=60
        )
