"""What reviewers say, who may say it, and what waits for it."""

from typing import Any

import pytest
from django.db import IntegrityError, transaction

from patchvote.cases import services
from patchvote.cases.models import Analysis, Case, Review
from patchvote.cases.review import services as reviews
from patchvote.cases.summaries import ids_by_review_status
from patchvote.jobs import ledger
from testing.images import encode, noise


def standing(case: Case) -> set[str]:
    case.refresh_from_db()
    return {name for name, ids in ids_by_review_status([case]).items() if case.pk in ids}


def test_a_confirmation_has_the_verdict_as_its_label(case: Case, rita: Any) -> None:
    image = case.images.get()
    said = reviews.review(image, rita, "confirmed", comment="clear")
    assert (said.label, said.comment, said.analysis) == ("malignant", "clear", image.analysis)
    assert image.label == "malignant"


def test_a_correction_has_the_other_class(submit: Any, ana: Any, rita: Any, give_verdicts: Any) -> None:
    image = submit(ana).images.get()
    give_verdicts("benign")
    assert reviews.review(image, rita, "corrected").label == "malignant"


def test_the_latest_review_counts_and_all_are_kept(case: Case, rita: Any, make_user: Any) -> None:
    image = case.images.get()
    reviews.review(image, rita, "confirmed")
    reviews.review(image, make_user("olga", "admin"), "corrected")
    reviews.review(image, rita, "unfit")
    assert [said.decision for said in image.reviews.all()] == ["unfit", "corrected", "confirmed"]
    assert image.label == ""
    [latest] = Review.objects.latest_of_each_image()
    assert latest.decision == "unfit"


def test_the_same_word_twice_is_one_review(case: Case, rita: Any) -> None:
    image = case.images.get()
    first = reviews.review(image, rita, "confirmed", comment="clear")
    assert reviews.review(image, rita, "confirmed", comment="clear") == first
    reviews.review(image, rita, "confirmed", comment="clearer")
    assert image.reviews.count() == 2


def test_a_review_never_changes(case: Case, rita: Any) -> None:
    said = reviews.review(case.images.get(), rita, "confirmed")
    said.comment = "otherwise"
    with pytest.raises(TypeError, match="never changes"):
        said.save()
    said.refresh_from_db()
    assert said.comment == ""


@pytest.mark.parametrize(
    ("decision", "label"), [("confirmed", ""), ("corrected", ""), ("unfit", "benign"), ("perhaps", "benign")]
)
def test_the_database_refuses_labels_that_do_not_fit(case: Case, rita: Any, decision: str, label: str) -> None:
    image = case.images.get()
    analysis = image.analysis
    assert analysis is not None
    with pytest.raises(IntegrityError), transaction.atomic():
        Review.objects.create(image=image, analysis=analysis, reviewer=rita, decision=decision, label=label)


def test_a_review_keeps_its_analysis_and_label_when_the_image_is_analysed_again(
    case: Case, rita: Any, second_version: Any, give_verdicts: Any
) -> None:
    image = case.images.get()
    said = reviews.review(image, rita, "corrected")
    first = image.analysis
    services.analyse_again(case, second_version)
    give_verdicts("malignant")
    said.refresh_from_db()
    assert said.analysis == first != image.analysis
    assert image.label == "benign"


def test_an_image_that_is_being_analysed_cannot_be_reviewed(submit: Any, ana: Any, rita: Any) -> None:
    image = submit(ana).images.get()
    for decision in ("confirmed", "corrected", "unfit"):
        with pytest.raises(services.StateError, match="still being analysed"):
            reviews.review(image, rita, decision)


def test_a_failed_image_can_only_be_called_unfit(submit: Any, ana: Any, rita: Any) -> None:
    image = submit(ana).images.get()
    [job] = ledger.claim(Analysis, "w", 1)
    ledger.fail(job, "file_gone", "The file is gone.")
    for decision in ("confirmed", "corrected"):
        with pytest.raises(services.StateError, match="no verdict"):
            reviews.review(image, rita, decision)
    assert reviews.review(image, rita, "unfit").label == ""


def test_a_review_of_a_verdict_that_was_replaced_is_refused(case: Case, rita: Any, give_verdicts: Any) -> None:
    image = case.images.get()
    seen = image.analysis.pk
    services.analyse_again(case)
    give_verdicts("benign")
    with pytest.raises(services.StateError, match="has been analysed again"):
        reviews.review(image, rita, "confirmed", analysis_id=seen)
    assert not image.reviews.exists()


# --- what waits ------------------------------------------------------------------------------------------------------


def test_how_cases_stand(submit: Any, upload: Any, ana: Any, rita: Any, give_verdicts: Any) -> None:
    case = submit(ana, upload(), upload(encode(noise(seed=2))))
    assert standing(case) == set()  # nothing to review yet
    give_verdicts("malignant")
    first, second = case.images.all()
    assert standing(case) == {"awaiting"}
    reviews.review(first, rita, "confirmed")
    assert standing(case) == {"awaiting"}
    reviews.review(second, rita, "corrected")
    assert standing(case) == {"reviewed", "disputed"}
    services.analyse_again(Case.objects.get(pk=case.pk))
    give_verdicts("benign")
    assert standing(case) == {"reviewed", "disputed"}  # now the first one is disputed
    reviews.review(first, rita, "unfit")
    assert standing(case) == {"reviewed"}


def test_synthetic_samples_wait_for_nobody(submit: Any, ana: Any, give_verdicts: Any) -> None:
    case = submit(ana, synthetic=True)
    give_verdicts()
    assert standing(case) == set()


def test_the_queue_goes_round_and_leaves_out_what_is_done(submit: Any, ana: Any, rita: Any, give_verdicts: Any) -> None:
    cases = [submit(ana) for _ in range(3)]
    give_verdicts()
    assert reviews.next_case() == cases[0]
    assert reviews.next_case(cases[0]) == cases[1]
    assert reviews.next_case(cases[2]) == cases[0]
    for case in cases[:2]:
        reviews.review(case.images.get(), rita, "confirmed")
    assert reviews.next_case(cases[0]) == cases[2]
    assert reviews.next_case(cases[2]) is None
