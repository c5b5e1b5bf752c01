"""The columns that say how cases stand with their reviews follow all that happens."""

from importlib import import_module
from typing import Any

from django.apps import apps

from patchvote.cases import services
from patchvote.cases.models import Case
from patchvote.cases.review import services as reviews

COLUMNS = ("awaits_review", "is_reviewed", "is_disputed")


def standing(case: Any) -> tuple[bool, ...]:
    case.refresh_from_db()
    return tuple(getattr(case, column) for column in COLUMNS)


def test_they_follow_analyses_and_reviews(submit: Any, upload: Any, ana: Any, rita: Any, give_verdicts: Any) -> None:
    case = submit(ana, upload(), upload())
    assert standing(case) == (False, False, False)
    give_verdicts("malignant")
    assert standing(case) == (True, False, False)
    first, second = case.images.all()
    reviews.review(first, rita, "corrected")
    assert standing(case) == (True, False, True)
    reviews.review(second, rita, "confirmed")
    assert standing(case) == (False, True, True)
    services.analyse_again(case)
    assert standing(case) == (False, True, False)
    give_verdicts("benign")
    assert standing(case) == (False, True, True)
    reviews.review(second, rita, "corrected")
    reviews.review(second, rita, "confirmed")
    assert standing(case) == (False, True, False)


def test_cases_that_were_there_before_get_them(
    submit: Any, upload: Any, ana: Any, rita: Any, give_verdicts: Any
) -> None:
    for decision in ("", "confirmed", "corrected", "unfit"):
        case = submit(ana, upload(), reference=decision)
        give_verdicts("malignant")
        if decision:
            reviews.review(case.images.get(), rita, decision)
    submit(ana, synthetic=True)
    give_verdicts("malignant")
    submit(ana)
    followed = list(Case.objects.order_by("pk").values_list("pk", *COLUMNS))
    assert len({row[1:] for row in followed}) == 4
    Case.objects.update(awaits_review=False, is_reviewed=False, is_disputed=False)
    import_module("patchvote.cases.migrations.0005_standings").stand(apps, None)
    assert list(Case.objects.order_by("pk").values_list("pk", *COLUMNS)) == followed
