"""Clients that send images over HTTP, as cheaply as can be: they compute on the cores of what they measure."""

from __future__ import annotations

import http.client
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

from urllib3 import encode_multipart_formdata

from benchmarks.watcher import Ended, Watcher

ACCEPTED = 202
_LONGEST_WAIT = 600
_SENDERS = 16


@dataclass(frozen=True)
class Sent:
    """One image on its way; times are seconds since the epoch.

    Attributes:
        case: Its id.
        began: When its request began, or was due to.
        answered: When the answer was there.
        end: Of its case.
        waiting: Cases that had not ended when it was sent.
    """

    case: str
    began: float
    answered: float
    end: Future[Ended]
    waiting: int

    @property
    def upload(self) -> float:
        """Seconds of the request."""
        return self.answered - self.began

    @property
    def ended(self) -> Ended:
        """How it went; waits for it."""
        ended = self.end.result(_LONGEST_WAIT)
        if ended.state != "succeeded":
            raise RuntimeError(f"A case {ended.state}: such figures mean nothing.")
        return ended

    @property
    def verdict(self) -> float:
        """Seconds from the beginning of the request to the stored verdict."""
        return self.ended.finished - self.began


class Uploader:
    """Sends images in turn, each as a case and over a connection of its own; what it sends is made beforehand."""

    def __init__(self, url: str, token: str, images: Sequence[bytes]) -> None:
        """Make the bodies of the requests.

        Args:
            url: Of the installation.
            token: Of the API.
            images: Files.
        """
        self._address = urlsplit(url).netloc
        self._bodies = [encode_multipart_formdata({"images": ("image.png", data, "image/png")}) for data in images]
        self._token = token
        self._numbers = itertools.count()

    def send(self) -> str:
        """Send the next image and return its case's id."""
        body, content_type = self._bodies[next(self._numbers) % len(self._bodies)]
        connection = http.client.HTTPConnection(self._address, timeout=120)
        try:
            headers = {"Authorization": f"Token {self._token}", "Content-Type": content_type}
            connection.request("POST", "/api/v1/cases/", body, headers)
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != ACCEPTED:
                raise RuntimeError(f"An upload was answered with {answer.status}: {text[:300]!r}")
            return answer.headers["Location"].rstrip("/").rpartition("/")[2]
        finally:
            connection.close()


def closed_loop(uploader: Uploader, watcher: Watcher, clients: int, go_on: Callable[[], object]) -> list[Sent]:
    """Let each client send an image and, when its verdict is there, the next; returns when all have ended.

    Args:
        uploader: Sends.
        watcher: Knows when verdicts are there.
        clients: At the same time.
        go_on: Asked before each image.
    """

    def client() -> list[Sent]:
        sent = []
        while go_on():
            sent.append(_send(uploader, watcher, time.time()))
            _ = sent[-1].ended
        return sent

    with ThreadPoolExecutor(clients) as pool:
        return [one for sent in [pool.submit(client) for _ in range(clients)] for one in sent.result()]


def open_loop(uploader: Uploader, watcher: Watcher, queued: int, rate: float, seconds: float) -> list[Sent]:
    """Fill the queue, then send at a steady rate, whatever becomes of what was sent; returns when all have ended.

    A request that could not begin when it was due counts from then.

    Args:
        uploader: Sends.
        watcher: Knows what waits.
        queued: Images that wait when the steady sending begins.
        rate: Images per second.
        seconds: Of steady sending.

    Returns:
        What was sent at the steady rate.
    """
    with ThreadPoolExecutor(_SENDERS) as pool:
        while watcher.waiting < queued:
            missing = min(_SENDERS, queued - watcher.waiting)
            list(pool.map(lambda _: _send(uploader, watcher, time.time()), range(missing)))
        sending = [pool.submit(_send, uploader, watcher, due) for due in _ticks(rate, seconds)]
    sent = [one.result() for one in sending]
    while watcher.waiting:
        time.sleep(0.1)
    return sent


def _ticks(rate: float, seconds: float) -> Iterator[float]:
    began = time.time()
    for number in range(max(1, round(rate * seconds))):
        due = began + number / rate
        time.sleep(max(0.0, due - time.time()))
        yield due


def _send(uploader: Uploader, watcher: Watcher, due: float) -> Sent:
    waiting = watcher.waiting
    case = uploader.send()
    answered = time.time()
    return Sent(case, due, answered, watcher.expect(case), waiting)
