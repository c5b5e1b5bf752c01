"""Clients that submit cases at a steady rate, and send again whatever was not answered."""

from __future__ import annotations

import threading
import time
import uuid
from dataclasses import dataclass
from random import Random

import requests

from tests.faults.installation import Installation
from tests.faults.pictures import BAD_FILES, Pool

CLIENTS = 6
BAD_SHARE = 0.1
"""Of the requests that hold a file which must be refused."""
AGAIN_SECONDS = 0.5


@dataclass(frozen=True)
class Accepted:
    """A case that the server took: known to the client, so it must never be lost.

    Attributes:
        case: Its id, as 32 hexadecimal digits.
        pictures: The numbers in the pool of what was sent, in order.
        sent: When it was sent first, seconds since 1970.
        answered: When it was answered with 202.
        tries: How often it was sent.
    """

    case: str
    pictures: tuple[int, ...]
    sent: float
    answered: float
    tries: int


class Load:
    """Client threads. What they saw is in `accepted`, `refused` and `problems`."""

    def __init__(self, on: Installation, pool: Pool, seed: int, per_second: float) -> None:
        self.accepted: list[Accepted] = []
        self.refused = 0
        self.problems: list[str] = []
        self._on = on
        self._pool = pool
        self._per_second = per_second
        self._stop = threading.Event()
        token = on.connected()._session.headers["Authorization"]
        self._threads = [
            threading.Thread(target=self._run, args=(Random(f"{seed}-{number}"), token), name=f"client-{number}")
            for number in range(CLIENTS)
        ]

    def start(self) -> None:
        """Begin to send."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Send nothing new, and wait until all that was sent is answered."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def accepted_since(self, moment: float) -> Accepted | None:
        """The first case that was sent and accepted after a moment."""
        later = [case for case in self.accepted if case.sent >= moment]
        return min(later, key=lambda case: case.answered, default=None)

    def _run(self, chance: Random, token: str | bytes) -> None:
        headers = {"Authorization": token}
        while not self._stop.wait(chance.expovariate(self._per_second / CLIENTS)):
            numbers = tuple(chance.choices(range(len(self._pool.files)), k=chance.choice([1, 1, 2, 3])))
            bad = chance.choice(list(BAD_FILES.values())) if chance.random() < BAD_SHARE else None
            self._send(numbers, bad, headers)

    def _send(self, numbers: tuple[int, ...], bad: bytes | None, headers: dict[str, str | bytes]) -> None:
        """Send until there is an answer that says whether the case was taken."""
        contents = [self._pool.files[number] for number in numbers] + ([bad] if bad else [])
        files = [("images", (f"{place}.png", content)) for place, content in enumerate(contents)]
        key = uuid.uuid4().hex
        sent = time.time()
        for tries in range(1, 1000):
            try:
                answer = requests.post(
                    f"{self._on.url}/api/v1/cases/",
                    files=files,
                    headers={**headers, "Idempotency-Key": key},
                    timeout=60,
                )
            except requests.RequestException:
                time.sleep(AGAIN_SECONDS)
                continue
            if answer.status_code >= 500:
                time.sleep(AGAIN_SECONDS)
                continue
            self._note(answer, numbers, bad, sent, tries)
            return
        self.problems.append(f"{key} was never answered")

    def _note(
        self, answer: requests.Response, numbers: tuple[int, ...], bad: bytes | None, sent: float, tries: int
    ) -> None:
        if answer.status_code == 202 and not bad:
            case = uuid.UUID(answer.json()["id"]).hex
            self.accepted.append(Accepted(case, numbers, sent, time.time(), tries))
        elif answer.status_code == 400 and bad:
            self.refused += 1
        else:
            self.problems.append(f"{'bad' if bad else 'good'} files: {answer.status_code} {answer.text[:300]}")
