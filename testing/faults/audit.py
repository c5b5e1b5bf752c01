"""The audit after the faults: each accepted case exists once and is right, and no file is left over."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from testing.faults.installation import Installation
from testing.faults.load import Accepted

FINAL = {"succeeded", "failed", "cancelled"}
MAX_ATTEMPTS = 4
CLOSE = 1e-3
"""The largest accepted difference of two probabilities: they are rounded to four digits, after sums whose order depends
on the images in the batch."""
CLEANING_SECONDS = 90

Result = dict[str, Any]


@dataclass
class Findings:
    """The violations that an audit found, as sentences.

    Attributes:
        lost: Cases, images and results that are missing.
        doubled: Cases and results that exist more than once.
        wrong: Results that differ from those of an undisturbed run.
        orphans: Files without a row, rows without a file, and left-over pieces of uploads.
    """

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        """Return True if there is a violation."""
        return any((self.lost, self.doubled, self.wrong, self.orphans))


class Books:
    """The cases, images and analyses in the database at one moment."""

    def __init__(self, on: Installation) -> None:
        """Read the database of an installation."""
        database = on.database
        self.cases = {row["id"]: row for row in database.rows("SELECT * FROM cases_case")}
        self.images: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in database.rows("SELECT * FROM cases_image ORDER BY position"):
            self.images[row["case_id"]].append(row)
        self.analyses: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in database.rows("SELECT * FROM cases_analysis"):
            self.analyses[row["image_id"]].append(row)
        self.endings = Counter(step["analysis"] for step in database.journal() if step["state"] in FINAL)

    def result(self, image: str) -> Result:
        """Return the current analysis of an image."""
        return next(row for row in self.analyses[image] if row["current"])


def wait_until_ended(on: Installation, cases: Iterable[str], seconds: float = 240) -> None:
    """Wait until no case is open, or until the time is over; the audit then names the open ones."""
    wanted = set(cases)

    def over() -> bool:
        rows = on.database.rows("SELECT id FROM cases_case WHERE state IN ('queued', 'running')")
        return not wanted & {row["id"] for row in rows}

    _patiently(over, seconds)


def undisturbed(on: Installation, files: Sequence[bytes]) -> list[Result]:
    """Return the analyses of images that are submitted without any fault."""
    client = on.connected()
    cases = [client.submit(file, reference="undisturbed") for file in files]
    for case in cases:
        client.finished(case, 300)
    books = Books(on)
    return [books.result(books.images[case["id"].replace("-", "")][0]["id"]) for case in cases]


def audit(on: Installation, accepted: Sequence[Accepted], expected: Sequence[Result], *, before: int) -> Findings:
    """Compare the answers that clients got with the database and the folders.

    Args:
        on: The installation.
        accepted: The cases that the server accepted.
        expected: The results of the pool's images in an undisturbed run.
        before: The number of cases before the first of them.

    Returns:
        The violations.
    """
    findings = Findings()
    books = Books(on)
    for case in accepted:
        if case.case not in books.cases:
            findings.lost.append(f"case {case.case} is gone")
            continue
        _check_case(books, case, expected, findings)
    known = Counter(case.case for case in accepted)
    findings.doubled += [f"case {case} answers {count} keys" for case, count in known.items() if count > 1]
    unknown = len(books.cases) - before - len(known)
    if unknown:
        findings.doubled.append(f"{unknown} cases that no client knows: a request made two, or a refused one was kept")
    findings.orphans += files_out_of_place(on)
    return findings


def _check_case(books: Books, case: Accepted, expected: Sequence[Result], findings: Findings) -> None:
    images = books.images[case.case]
    if len(images) != len(case.pictures):
        findings.lost.append(f"case {case.case}: {len(images)} images of {len(case.pictures)}")
        return
    current = []
    for image, number in zip(images, case.pictures, strict=True):
        analyses = books.analyses[image["id"]]
        if len(analyses) != 1 or not analyses[0]["current"]:
            findings.doubled.append(f"image {image['id']}: {len(analyses)} analyses")
            continue
        analysis = analyses[0]
        current.append(analysis)
        ended = books.endings[analysis["id"]]
        if ended > 1:
            findings.doubled.append(f"analysis {analysis['id']} ended {ended} times")
        if analysis["state"] not in FINAL or not ended:
            findings.lost.append(f"analysis {analysis['id']} is {analysis['state']}, attempt {analysis['attempts']}")
        elif analysis["state"] != "succeeded":
            findings.wrong.append(f"analysis {analysis['id']} {analysis['state']}: {analysis['error_code']}")
        else:
            findings.wrong += [f"analysis {analysis['id']}: {what}" for what in differences(analysis, expected[number])]
        if not 1 <= analysis["attempts"] <= MAX_ATTEMPTS:
            findings.wrong.append(f"analysis {analysis['id']}: {analysis['attempts']} attempts")
    summary = (books.cases[case.case]["state"], books.cases[case.case]["verdict"])
    if summary != _summary(current):
        findings.wrong.append(f"case {case.case} is {summary}, its analyses say {_summary(current)}")


def differences(found: Result, expected: Result) -> list[str]:
    """Return the differences between a result and the one of an undisturbed run, as sentences."""
    unequal = [
        f"{name} {found[name]!r}, not {expected[name]!r}"
        for name in ("verdict", "malignant_share", "threshold", "model_version_id")
        if found[name] != expected[name]
    ]
    votes, wanted = found["votes"], expected["votes"]
    if [_without_number(vote) for vote in votes] != [_without_number(vote) for vote in wanted]:
        return [*unequal, "votes differ"]
    pairs = [(found, expected), *zip(votes, wanted, strict=True)]
    far = max(abs(a["malignant_probability"] - b["malignant_probability"]) for a, b in pairs)
    return unequal if far <= CLOSE else [*unequal, f"a probability is off by {far:.4f}"]


def _without_number(vote: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in vote.items() if name != "malignant_probability"}


def _summary(analyses: Sequence[Result]) -> tuple[str, str]:
    """Return the state and the verdict of a case with these analyses: a second implementation on purpose."""
    states = {analysis["state"] for analysis in analyses}
    if states - FINAL:
        return ("queued" if states == {"queued"} else "running"), ""
    if states != {"succeeded"}:
        return ("failed" if "failed" in states else "cancelled"), ""
    verdicts = {analysis["verdict"] for analysis in analyses}
    return "succeeded", "malignant" if "malignant" in verdicts else "benign"


def files_out_of_place(on: Installation) -> list[str]:
    """Return files without a row, rows without a file and pieces of uploads that no cleaning removes in time."""
    found: list[str] = []

    def clean() -> bool:
        media = on.folder / "media"
        kept = {str(path.relative_to(media)) for path in (media / "originals").rglob("*") if path.is_file()}
        named = {row["file"] for row in on.database.rows("SELECT file FROM cases_image")}
        pieces = {str(path.relative_to(on.folder)) for path in (on.folder / "uploads").rglob("*")}
        found[:] = [f"{name} has no image" for name in sorted(kept - named)]
        found.extend(f"{name} has no file" for name in sorted(named - kept))
        found.extend(f"{name} was left over" for name in sorted(pieces))
        return not found

    _patiently(clean, CLEANING_SECONDS)
    return found


def _patiently(condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.5)
