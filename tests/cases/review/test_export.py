"""What a data set of reviewed cases is made of."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from patchvote.cases.models import Review
from patchvote.cases.review import export
from patchvote.cases.review import services as reviews
from testing.images import encode, noise


@pytest.fixture
def add(submit: Any, upload: Any, ana: Any, rita: Any, give_verdicts: Any) -> Any:
    """Adds a reviewed case: `add(1, "confirmed", reference="B-1")`; the number is the picture's."""

    def store(seed: int, decision: str, *, days_ago: float = 0, **fields: Any) -> Review:
        case = submit(ana, upload(encode(noise(230, 230, seed=seed))), **fields)
        give_verdicts("malignant")
        said = reviews.review(case.images.get(), rita, decision)
        Review.objects.filter(pk=said.pk).update(created_at=timezone.now() - timedelta(days=days_ago))
        return Review.objects.get(pk=said.pk)

    return store


def labels(**options: Any) -> dict[Any, str]:
    return {one.image.pk: one.label for one in export.reviewed_images(**options).images}


def test_reviewed_images_have_label_patient_and_reviewer(add: Any, rita: Any) -> None:
    said = add(1, "corrected", reference="  b-2026  17 ", magnification="100X")
    [one] = export.reviewed_images().images
    assert (one.image, one.label, one.patient, one.magnification) == (said.image, "benign", "b-2026 17", "100X")
    assert (one.reviewer, one.reviewed_at) == (rita, said.created_at)


def test_references_are_compared_without_capitals_and_cases_without_one_are_their_own_patient(add: Any) -> None:
    add(1, "confirmed", reference="B-1")
    add(2, "confirmed", reference=" b-1")
    nameless = [add(3, "confirmed"), add(4, "confirmed", reference="  ")]
    found = export.reviewed_images()
    assert {one.patient for one in found.images} == {"b-1", *(str(said.image.case_id) for said in nameless)}
    assert found.notes == ["2 cases have no reference: each counts as a patient of its own."]


def test_unfit_and_synthetic_images_are_left_out_and_counted(add: Any) -> None:
    kept = add(1, "confirmed", reference="B-1")
    add(2, "unfit", reference="B-2")
    add(3, "confirmed", reference="B-3", synthetic=True)
    found = export.reviewed_images()
    assert [one.image for one in found.images] == [kept.image]
    assert found.notes == [
        "1 image was left out: it was marked as unfit.",
        "1 image was left out: it is a synthetic sample.",
    ]


def test_of_equal_pictures_the_newest_review_counts(add: Any) -> None:
    add(1, "confirmed", reference="B-1", days_ago=2)
    newest = add(1, "corrected", reference="B-2")
    add(1, "corrected", reference="B-3", days_ago=1)
    assert labels() == {newest.image_id: "benign"}
    assert export.reviewed_images().notes == [
        "2 reviews were left out: images with the same pixels have newer ones.",
        "1 of them says another class than the newer one, which counts.",
    ]


def test_an_unfit_picture_is_unfit_in_every_case(add: Any) -> None:
    add(1, "confirmed", reference="B-1", days_ago=1)
    add(1, "unfit", reference="B-2")
    assert labels() == {}


def test_what_was_superseded_after_a_span_is_not_taken_from_it(add: Any, make_user: Any) -> None:
    old = add(1, "confirmed", reference="B-1", days_ago=10)
    superseded = add(2, "confirmed", reference="B-2", days_ago=10)
    reviews.review(superseded.image, make_user("olga", "reviewer"), "corrected")
    day = timedelta(days=1)
    assert labels(until=timezone.now() - 5 * day) == {old.image_id: "malignant"}
    assert labels(since=timezone.now() - 5 * day) == {superseded.image_id: "benign"}


def test_magnification_and_corrections_can_be_asked_for(add: Any) -> None:
    add(1, "confirmed", reference="B-1")
    corrected = add(2, "corrected", reference="B-2")
    far = add(3, "confirmed", reference="B-3", magnification="400X")
    assert labels(only_corrected=True) == {corrected.image_id: "benign"}
    assert labels(magnification="400X") == {far.image_id: "malignant"}


def test_reviewed_images_need_one_query_however_many(add: Any, django_assert_num_queries: Any) -> None:
    for seed in range(4):
        add(seed, "confirmed", reference=f"B-{seed}")
    with django_assert_num_queries(2):
        assert len(export.reviewed_images().images) == 4
