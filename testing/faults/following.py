"""Follows cases and their analyses through the journal."""

from __future__ import annotations

from typing import Any

from testing.faults.installation import Installation, pid_of
from testing.stack import Client


def whole(case: Any) -> bool:
    """Return True if each image of a case has its one result."""
    analyses = [image["analysis"] for image in case["images"]]
    return case["state"] == "succeeded" and all(a["state"] == "succeeded" and a["votes"] for a in analyses)


def attempts(case: Any) -> list[int]:
    """Return the numbers of attempts of the analyses of a case."""
    return [image["analysis"]["attempts"] for image in case["images"]]


def steps(on: Installation, case: Any) -> dict[str, list[str]]:
    """Return the states of each analysis of a case in order."""
    ids = [image["analysis"]["id"].replace("-", "") for image in case["images"]]
    journal = on.database.journal()
    return {one: [step["state"] for step in journal if step["analysis"] == one] for one in ids}


def works(on: Installation, client: Client, pid: int, picture: bytes, seconds: float = 60) -> None:
    """Wait until a worker process claims work that is sent from now on."""
    seen = len(on.database.journal())

    def claims() -> bool:
        client.finished(client.submit(picture, picture, picture, reference="who works?"))
        return any(pid_of(step["worker"]) == pid for step in on.database.journal()[seen:])

    on.wait_for(f"worker {pid} to take work", claims, seconds)
