"""A campaign: cases and faults at random moments, then the audit. `test_random.py` and `make soak` run it."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from testing.faults.audit import FINAL, Books, Findings, audit, undisturbed, wait_until_ended
from testing.faults.injections import Fault, Injection, faults_for
from testing.faults.installation import Installation
from testing.faults.load import Accepted, Load
from testing.faults.pictures import Pool


@dataclass
class Report:
    """The course and the result of a campaign.

    Attributes:
        seed: The seed.
        seconds: The time from the first case to the last result.
        accepted: The cases that the server accepted.
        images: The number of their images.
        refused: The number of cases with a bad file that the server refused.
        injections: The faults.
        again: The number of analyses that took more than one attempt.
        findings: The violations that the audit found.
        problems: The unexpected answers of the server.
        recoveries: Seconds by fault and by the event that ends its recovery.
    """

    seed: int
    seconds: float
    accepted: Sequence[Accepted]
    images: int
    refused: int
    injections: Sequence[Injection]
    again: int
    findings: Findings
    problems: Sequence[str]
    recoveries: dict[tuple[str, str], list[float]] = field(default_factory=dict)

    @property
    def clean(self) -> bool:
        """True if nothing was lost, doubled, wrong or left over."""
        return not self.findings and not self.problems

    def as_markdown(self) -> str:
        """Return the report as Markdown tables."""
        rows: list[tuple[str, Any]] = [
            ("seed", self.seed),
            ("minutes", f"{self.seconds / 60:.1f}"),
            ("cases accepted (202)", len(self.accepted)),
            ("images", self.images),
            ("cases with a bad file, refused (400)", self.refused),
            ("requests sent again until they were answered", sum(case.tries - 1 for case in self.accepted)),
            ("faults", len(self.injections)),
            ("analyses that took more than one attempt", self.again),
            ("lost", len(self.findings.lost)),
            ("doubled", len(self.findings.doubled)),
            ("wrong", len(self.findings.wrong)),
            ("files out of place", len(self.findings.orphans)),
            ("unexpected answers", len(self.problems)),
        ]
        lines = ["| | |", "| --- | ---: |", *(f"| {name} | {value} |" for name, value in rows), ""]
        lines += ["| fault | times | until | median s | worst s |", "| --- | ---: | --- | ---: | ---: |"]
        for name in sorted({injection.fault for injection in self.injections}):
            times = sum(injection.fault == name for injection in self.injections)
            measured = {what: seconds for (fault, what), seconds in self.recoveries.items() if fault == name}
            for what, seconds in measured.items() or [("", [])]:
                numbers = f"{statistics.median(seconds):.1f} | {max(seconds):.1f}" if seconds else "|"
                lines.append(f"| {name} | {times} | {what} | {numbers} |")
        found = self.findings
        wrongs = [*found.lost, *found.doubled, *found.wrong, *found.orphans, *self.problems]
        return "\n".join([*lines, "", *(f"- {wrong}" for wrong in wrongs)]).rstrip()


def run(
    on: Installation,
    pool: Pool,
    *,
    seed: int,
    seconds: float,
    cases: int,
    pause: float,
    say: Callable[[str], None],
) -> Report:
    """Send cases while faults happen, until the time is over, the cases are sent and every fault has happened.

    Args:
        on: A running installation.
        pool: The images to send.
        seed: Decides the faults, their moments, and the images of each client.
        seconds: The shortest duration.
        cases: The smallest number of accepted cases.
        pause: The mean number of seconds from the end of a fault to the next one.
        say: Receives a line about each fault.

    Returns:
        The report, after the audit.
    """
    expected = undisturbed(on, pool.files)
    before = len(Books(on).cases)
    chance = Random(seed)
    load = Load(on, pool, seed, per_second=1.2 * cases / seconds)
    injections: list[Injection] = []
    began = time.time()
    deck = _deck(faults_for(on), chance)
    load.start()
    try:
        while time.time() < began + seconds or len(load.accepted) < cases or len(injections) < len(faults_for(on)):
            time.sleep(chance.expovariate(1 / pause))
            fault = next(deck)
            lasts = fault.duration(on, chance)
            say(f"{time.time() - began:6.1f} s, {len(load.accepted)} cases: {fault.name}, {lasts:.1f} s")
            with fault.of(on, chance) as injection:
                injections.append(injection)
                time.sleep(lasts)
    finally:
        load.stop()
    say("waiting for the last cases")
    wait_until_ended(on, [case.case for case in load.accepted])
    lasted = time.time() - began
    findings = audit(on, load.accepted, expected, before=before)
    return _report(on, load, injections, findings, seed=seed, seconds=lasted)


def _deck(faults: Sequence[Fault], chance: Random) -> Iterator[Fault]:
    """Yield all faults in a random order, then all of them in another order, without end."""
    while True:
        yield from chance.sample(faults, len(faults))


def _report(
    on: Installation, load: Load, injections: Sequence[Injection], findings: Findings, *, seed: int, seconds: float
) -> Report:
    books = Books(on)
    analyses = {
        case.case: {row["id"]: row for image in books.images[case.case] for row in books.analyses[image["id"]]}
        for case in load.accepted
    }
    journal = on.database.journal()
    recoveries: dict[tuple[str, str], list[float]] = defaultdict(list)
    for injection in injections:
        for what, seconds_waited in _recovery(injection, journal, load, analyses):
            recoveries[injection.fault, what].append(seconds_waited)
    return Report(
        seed=seed,
        seconds=seconds,
        accepted=load.accepted,
        images=sum(len(case.pictures) for case in load.accepted),
        refused=load.refused,
        injections=injections,
        again=sum(row["attempts"] > 1 for rows in analyses.values() for row in rows.values()),
        findings=findings,
        problems=load.problems,
        recoveries=recoveries,
    )


def _recovery(
    injection: Injection, journal: Sequence[dict[str, Any]], load: Load, analyses: dict[str, dict[str, Any]]
) -> Iterator[tuple[str, float]]:
    over = injection.ended or injection.began
    if injection.fault.startswith("worker"):
        again = [claimed_again(journal, analysis, attempt) for analysis, attempt in injection.held.items()]
        moments = [moment for moment in again if moment is not None]
        if moments:
            yield "its jobs are claimed again", max(moments) - injection.began
    elif injection.fault.startswith("Redis"):
        claims = [s["at"] for s in journal if s["state"] == "running" and s["analysis"] in injection.waiting]
        later = [moment for moment in claims if moment >= over]
        if later:
            yield "waiting cases go on", min(later) - over
        sent = [case for case in load.accepted if injection.began <= case.sent <= injection.ended]
        if sent:
            first = min(sent, key=lambda case: case.sent)
            ends = [s["at"] for s in journal if s["analysis"] in analyses[first.case] and s["state"] in FINAL]
            yield "a case sent meanwhile has ended", max(0.0, max(ends, default=0.0) - over)
    elif injection.fault.startswith(("web", "database")):
        following = load.accepted_since(over)
        if following:
            yield "an upload is accepted", following.answered - over


def claimed_again(journal: Sequence[dict[str, Any]], analysis: str, attempt: int) -> float | None:
    """Return when an analysis was claimed after an attempt, or when it ended, in seconds since 1970."""
    for step in journal:
        if step["analysis"] != analysis or step["attempts"] < attempt:
            continue
        if step["state"] in FINAL or (step["state"] == "running" and step["attempts"] > attempt):
            return float(step["at"])
    return None
