"""Clients that submit cases at a steady rate and repeat requests without an answer."""

from __future__ import annotations

import threading
import time
import uuid
from dataclasses import dataclass
from random import Random

import requests

from testing.faults.installation import Installation
from testing.faults.pictures import BAD_FILES, Pool

CLIENTS = 6
BAD_SHARE = 0.1
"""The share of requests with a file that has to be refused."""
AGAIN_SECONDS = 0.5
"""The pause before a request is repeated."""


@dataclass(frozen=True)
class Accepted:
    """A case that the server accepted: it must never be lost.

    Attributes:
        case: The id, as 32 hexadecimal digits.
        pictures: The numbers of its images in the pool, in order.
        sent: When it was first sent, in seconds since 1970.
        answered: When the answer 202 came, in seconds since 1970.
        tries: The number of requests.
    """

    case: str
    pictures: tuple[int, ...]
    sent: float
    answered: float
    tries: int


class Load:
    """Client threads.

    Attributes:
        accepted: The accepted cases.
        refused: The number of cases with a bad file that were refused.
        problems: Unexpected answers, as sentences.
    """

    def __init__(self, on: Installation, pool: Pool, seed: int, per_second: float) -> None:
        """Prepare the clients.

        Args:
            on: The installation.
            pool: The images to send.
            seed: Decides what each client sends, and when.
            per_second: The mean number of cases per second, all clients together.
        """
        self.accepted: list[Accepted] = []
        self.refused = 0
        self.problems: list[str] = []
        self._on = on
        self._pool = pool
        self._per_second = per_second
        self._stop = threading.Event()
        token = f"Token {on.connected().token}"
        self._threads = [
            threading.Thread(target=self._run, args=(Random(f"{seed}-{number}"), token), name=f"client-{number}")
            for number in range(CLIENTS)
        ]

    def start(self) -> None:
        """Start to send."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Send nothing new and wait for the answers to all requests."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def accepted_since(self, moment: float) -> Accepted | None:
        """Return the first case that was sent and accepted after a moment."""
        later = [case for case in self.accepted if case.sent >= moment]
        return min(later, key=lambda case: case.answered, default=None)

    def _run(self, chance: Random, token: str) -> None:
        headers = {"Authorization": token}
        while not self._stop.wait(chance.expovariate(self._per_second / CLIENTS)):
            numbers = tuple(chance.choices(range(len(self._pool.files)), k=chance.choice([1, 1, 2, 3])))
            bad = chance.choice(list(BAD_FILES.values())) if chance.random() < BAD_SHARE else None
            self._send(numbers, bad, headers)

    def _send(self, numbers: tuple[int, ...], bad: bytes | None, headers: dict[str, str]) -> None:
        """Repeat a request until the answer says whether the case was accepted."""
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
