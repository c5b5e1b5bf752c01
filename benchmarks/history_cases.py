"""Cases, images, analyses and reviews as after years of use, created in bulk."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from importlib import import_module
from itertools import groupby
from operator import attrgetter
from typing import Any

from django.apps import apps
from django.contrib.auth.models import Group
from django.utils import timezone

from classifier.grid import COVER
from classifier.votes import count
from patchvote.accounts.models import User
from patchvote.accounts.roles import REVIEWER, SUBMITTER
from patchvote.cases.models import Analysis, Case, Decision, Image, Review, other_class
from patchvote.cases.search import normalise
from patchvote.jobs.models import State
from patchvote.registry.models import ModelVersion
from patchvote.standalone.setup import register_shipped_model

FEW, MANY, SEES_ALL = "few-cases", "many-cases", "reviewer"
"""The users who request pages: one with five cases, one with nearly all, one who sees all."""

_OTHERS = 20
_CASES_OF_FEW = 5
_BATCH = 1000
_OPEN = 10
"""The number of newest cases, whose analyses have not ended."""

_FIRST = 100
"""The number of oldest cases, of which more fail, so that every page is full even with a hundred cases."""

_SPAN = timedelta(weeks=10)
"""The time from the oldest case until now: databases differ in the number of cases, not in their time of use."""


def fill(cases: int) -> None:
    """Create users, the shipped model and `count` cases, evenly spread over the time of use."""
    register_shipped_model()
    submitters = [_person(FEW), _person(MANY), *(_person(f"submitter-{number}") for number in range(_OTHERS))]
    maker = _Maker(cases, submitters, _person(SEES_ALL, REVIEWER), ModelVersion.objects.get())
    for first in range(0, cases, _BATCH):
        maker.make(range(first, min(first + _BATCH, cases)))
    # In bulk, as the migration does it for the cases that were there before.
    import_module("patchvote.cases.migrations.0005_standings").stand(apps, None)
    import_module("patchvote.cases.migrations.0006_review_tally").tally(apps, None)


def _person(name: str, role: str = SUBMITTER) -> User:
    person = User.objects.create_user(name)
    person.groups.add(Group.objects.get(name=role))
    return person


class _Maker:
    """A factory of cases by age, 0 for the newest. A case depends on its position only, so that pages look alike."""

    def __init__(self, cases: int, submitters: Sequence[User], reviewer: User, version: ModelVersion) -> None:
        self._cases, self._submitters, self._reviewer, self._version = cases, submitters, reviewer, version
        self._now = timezone.now()
        boxes = COVER.boxes(700, 460)
        # Of seven patches three or four vote malignant, in turn.
        self._results = [
            count(boxes, [place % 7 - 2.5 - number % 2 for place in range(15)], threshold=0.5, temperature=1).as_dict()
            for number in range(2)
        ]

    def make(self, ages: range) -> None:
        cases = [self._case(age) for age in ages]
        images = [image for age, case in zip(ages, cases, strict=True) for image in self._images(age, case)]
        for case, of_case in groupby(images, key=attrgetter("case")):
            case.search_text = normalise(case.reference, case.notes, *(image.filename for image in of_case))
        analyses = [self._analysis(image) for image in images]
        for case, analysis in zip((image.case for image in images), analyses, strict=True):
            case.verdict = max(case.verdict, analysis.verdict)  # "malignant" comes after "benign"
        earlier = [self._earlier(analysis) for analysis in analyses[::15] if analysis.verdict]
        Case.objects.bulk_create(cases)
        Image.objects.bulk_create(images)
        Analysis.objects.bulk_create([*analyses, *earlier])
        Review.objects.bulk_create(
            [
                self._review(number, analysis)
                for number, analysis in enumerate(analyses)
                if analysis.verdict and number % 5 < 3  # noqa: PLR2004 (three of five)
            ]
        )

    def _is_first(self, created: datetime) -> bool:
        return created <= self._moment(self._cases - _FIRST)

    def _case(self, age: int) -> Case:
        if age % (self._cases // _CASES_OF_FEW) == self._cases // _CASES_OF_FEW // 2:
            submitter = self._submitters[0]
        else:
            submitter = self._submitters[1] if age % 25 else self._submitters[2 + age // 25 % _OTHERS]
        return Case(
            submitter=submitter,
            reference=f"B-{self._cases - age:06}",
            notes="Core biopsy, left breast." if age % 4 in {1, 2} else "",
            state=self._state(age),
            created_at=self._moment(age),
        )

    def _images(self, age: int, case: Case) -> list[Image]:
        return [
            Image(
                case=case,
                position=position,
                filename=f"slide-{age:06}-{position}.png",
                file=f"originals/none/{age}-{position}",
                format="PNG",
                # Two of twenty cases have the same image.
                sha256=hashlib.sha256(f"{age - (age % 20 == 1)}-{position}".encode()).hexdigest(),
                width=700,
                height=460,
            )
            for position in range(2 if age % 10 == 3 else 1)  # noqa: PLR2004 (one of ten)
        ]

    def _analysis(self, image: Image) -> Analysis:
        case = image.case
        analysis = Analysis(image=image, model_version=self._version, state=case.state, queued_at=case.created_at)
        if case.state == State.SUCCEEDED:
            self._end(analysis, int(image.sha256[:4], 16))
        elif case.state == State.FAILED:
            analysis.finished_at = case.created_at
            analysis.error_code, analysis.error = "file_gone", "The image's file cannot be read on the server."
        return analysis

    def _earlier(self, newer: Analysis) -> Analysis:
        """Return an analysis that a newer one replaced."""
        earlier = Analysis(
            image=newer.image, model_version=self._version, state=newer.state, queued_at=newer.queued_at, current=False
        )
        self._end(earlier, 1)
        return earlier

    def _end(self, analysis: Analysis, number: int) -> None:
        analysis.started_at = analysis.finished_at = analysis.queued_at + timedelta(seconds=1)
        analysis.attempts, analysis.progress, analysis.engine = 1, 1, "cpu float32"
        for name, value in self._results[number % len(self._results)].items():
            setattr(analysis, name, value)

    def _review(self, number: int, analysis: Analysis) -> Review:
        said: dict[str, Any] = {"decision": Decision.CONFIRMED, "label": analysis.verdict}
        corrected = number % 4 > 0 if self._is_first(analysis.queued_at) else number % 40 == 1
        if corrected:
            said = {"decision": Decision.CORRECTED, "label": other_class(analysis.verdict)}
        elif number % 100 == 10:  # noqa: PLR2004 (one of a hundred)
            said = {"decision": Decision.UNFIT, "label": ""}
        created = analysis.queued_at + timedelta(hours=1)
        return Review(image=analysis.image, analysis=analysis, reviewer=self._reviewer, created_at=created, **said)

    def _moment(self, age: int) -> datetime:
        return self._now - _SPAN * (age / self._cases)

    def _state(self, age: int) -> State:
        if age < _OPEN:
            return State.QUEUED if age // 2 % 2 else State.RUNNING
        failed = age % 10 in {1, 5, 7} if self._is_first(self._moment(age)) else age % 50 == 17  # noqa: PLR2004
        return State.FAILED if failed else State.SUCCEEDED
