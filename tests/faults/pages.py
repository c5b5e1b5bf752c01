"""A person in front of the pages, without a browser."""

from __future__ import annotations

import re

import requests

from tests.faults.installation import Installation


class SignedIn:
    """The first admin, signed in."""

    def __init__(self, on: Installation) -> None:
        self._url = on.url
        self._session = requests.Session()
        answer = self.post("/account/sign-in/", {"username": "admin", "password": on.admin_password})
        assert "sign-in" not in answer.url, answer.text

    def get(self, path: str) -> requests.Response:
        return self._session.get(f"{self._url}{path}", timeout=60)

    def post(self, path: str, fields: dict[str, str], **files: tuple[str, bytes]) -> requests.Response:
        """Send a page's form."""
        (token,) = set(re.findall(r'name="csrfmiddlewaretoken" value="([^"]+)"', self.get(path).text)) or {""}
        fields = {**fields, "csrfmiddlewaretoken": token}
        return self._session.post(
            f"{self._url}{path}", data=fields, files=files, headers={"Referer": self._url}, timeout=60
        )
