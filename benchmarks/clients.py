"""Clients that send images over HTTP with little computing, because they share the cores with what they measure."""

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
    """An upload of one image; times are in seconds since the epoch.

    Attributes:
        case: The id of its case.
        began: When its request began, or was due to.
        answered: When the response arrived.
        end: The end of its case.
        waiting: The number of unfinished cases when it was sent.
    """

    case: str
    began: float
    answered: float
    end: Future[Ended]
    waiting: int

    @property
    def upload(self) -> float:
        """The duration of the request, in seconds."""
        return self.answered - self.began

    @property
    def ended(self) -> Ended:
        """Wait for the case to end and return its timings."""
        ended = self.end.result(_LONGEST_WAIT)
        if ended.state != "succeeded":
            raise RuntimeError(f"A case {ended.state}: these measurements are not valid.")
        return ended

    @property
    def verdict(self) -> float:
        """The seconds from the start of the request to the stored verdict."""
        return self.ended.finished - self.began


class Uploader:
    """A sender of images, each as a case and over a connection of its own; the request bodies are built beforehand."""

    def __init__(self, url: str, token: str, images: Sequence[bytes]) -> None:
        """Build the request bodies.

        Args:
            url: The URL of the installation.
            token: The API token.
            images: The image files.
        """
        self._address = urlsplit(url).netloc
        self._bodies = [encode_multipart_formdata({"images": ("image.png", data, "image/png")}) for data in images]
        self._token = token
        self._numbers = itertools.count()

    def send(self) -> str:
        """Send the next image and return the id of its case."""
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
    """Let each client send an image and, after its verdict, the next; return when all cases have ended.

    Args:
        uploader: The sender.
        watcher: The watcher of verdicts.
        clients: The number of concurrent clients.
        go_on: Called before each image; returns whether to continue.
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
    """Fill the queue, then send at a steady rate without waiting for verdicts; return when all cases have ended.

    A late request counts from the time when it was due.

    Args:
        uploader: The sender.
        watcher: The watcher of waiting cases.
        queued: The number of waiting images when the steady sending begins.
        rate: Images per second.
        seconds: The duration of the steady sending.

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
