"""Following cases and their analyses through the journal."""

from __future__ import annotations

from typing import Any

from testing.stack import Client
from tests.faults.installation import Installation, pid_of


def whole(case: Any) -> bool:
    """True if each image of a case has its one result."""
    analyses = [image["analysis"] for image in case["images"]]
    return case["state"] == "succeeded" and all(a["state"] == "succeeded" and a["votes"] for a in analyses)


def attempts(case: Any) -> list[int]:
    """Of the analyses of a case."""
    return [image["analysis"]["attempts"] for image in case["images"]]


def steps(on: Installation, case: Any) -> dict[str, list[str]]:
    """What happened to each analysis of a case: its states in order."""
    ids = [image["analysis"]["id"].replace("-", "") for image in case["images"]]
    journal = on.database.journal()
    return {one: [step["state"] for step in journal if step["analysis"] == one] for one in ids}


def works(on: Installation, client: Client, pid: int, picture: bytes, seconds: float = 60) -> None:
    """Wait until a worker process takes work that is sent from now on."""
    seen = len(on.database.journal())

    def claims() -> bool:
        client.finished(client.submit(picture, picture, picture, reference="who works?"))
        return any(pid_of(step["worker"]) == pid for step in on.database.journal()[seen:])

    on.wait_for(f"worker {pid} to take work", claims, seconds)
