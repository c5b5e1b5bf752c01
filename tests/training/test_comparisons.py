"""On what two versions are compared, what comes of it, and who may be promoted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from classifier import bundle, networks
from classifier.bundle import Seen
from patchvote.jobs.models import State
from patchvote.registry import promotions
from patchvote.registry import services as registry
from patchvote.registry.models import ModelVersion
from patchvote.training import comparison_images, comparisons
from patchvote.training.models import Comparison, DataSet, DataSetImage

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("torch_started")]

NOTHING = Seen(patients=(), images=())


@pytest.fixture
def make_version(tmp_path: Path, media: Path) -> Callable[..., ModelVersion]:
    """Registers a small network that calls every patch malignant, or benign with `bias` below 0."""
    import torch

    def make(name: str, *, bias: float = 5.0, seen: Seen | None = NOTHING, **metadata: Any) -> ModelVersion:
        torch.manual_seed(0)
        module = networks.create("squeezenet")
        head: Any = networks.head(module, "squeezenet")
        with torch.no_grad():
            head.bias.copy_(torch.tensor([max(0.0, -bias), max(0.0, bias)]))
            head.weight.mul_(0.01)
        described = bundle.BundleMetadata(
            name=name,
            network="squeezenet",
            normalisation=networks.spec("squeezenet").normalisation,
            threshold=0.5,
            seen=seen,
            **metadata,
        )
        return registry.register(bundle.save(tmp_path / name, module.state_dict(), described).folder, tried=True)

    return make


@pytest.fixture
def images() -> Callable[..., DataSet]:
    """Stores a checked data set without files: `images("a", ("p1", "benign", "hash"), …)`."""

    def make(name: str, *rows: tuple[str, str, str], **fields: Any) -> DataSet:
        data_set = DataSet.objects.create(name=name, version=1, source="folder", state=State.SUCCEEDED, **fields)
        DataSetImage.objects.bulk_create(
            DataSetImage(
                data_set=data_set, path=f"{sha}.png", sha256=sha.ljust(64, "0"), label=label, patient=patient,
                magnification="40X", width=700, height=460,
            )
            for patient, label, sha in rows
        )  # fmt: skip
        return data_set

    return make


def chosen_for(candidate: ModelVersion, *data_sets: DataSet) -> tuple[set[str], str]:
    comparison = comparisons.start(candidate, among=data_sets)
    chosen = comparison_images.choose_images(comparison)
    return {image.sha256.rstrip("0") for image in chosen.images}, " ".join(
        template % values for template, values in chosen.notes
    )


def test_patients_that_either_model_was_trained_on_are_left_out(make_version: Any, images: Any) -> None:
    champion = make_version("old", seen=Seen.of(["p1"], []))
    candidate = make_version("new", seen=Seen.of(["p2"], ["5".ljust(64, "0")]))
    promotions.promote(champion, gate=False)
    data_set = images(
        "a",
        ("p1", "benign", "1"), ("p2", "malignant", "2"), ("p3", "benign", "3"),
        # p4 was trained on under another name: one picture gives the patient away.
        ("p4", "malignant", "4"), ("p4", "malignant", "5"),
    )  # fmt: skip
    kept, notes = chosen_for(candidate, data_set)
    assert kept == {"3"}
    assert "4 images of 3 patients are left out" in notes


def test_of_equal_pictures_one_counts_and_contradictions_none(make_version: Any, images: Any) -> None:
    promotions.promote(make_version("old"), gate=False)
    one = images("a", ("p1", "benign", "1"), ("p2", "malignant", "2"))
    other = images("b", ("p1", "benign", "1"), ("p2", "benign", "2"), ("p3", "benign", "3"))
    kept, notes = chosen_for(make_version("new"), one, other)
    assert kept == {"1", "3"}
    assert "contradict each other" in notes


def test_a_model_that_does_not_say_what_it_has_seen_is_named(make_version: Any, images: Any) -> None:
    promotions.promote(make_version("old", seen=None), gate=False)
    _, notes = chosen_for(make_version("new"), images("a", ("p1", "benign", "1")))
    assert "old v1 does not say what it was trained on" in notes


def test_only_magnifications_of_both_models_count(make_version: Any, images: Any) -> None:
    promotions.promote(make_version("old", magnifications=("40X", "100X")), gate=False)
    kept, notes = chosen_for(make_version("new", magnifications=("100X",)), images("a", ("p1", "benign", "1")))
    assert kept == set()
    assert "both models are for 100X" in notes


def test_synthetic_data_sets_count_only_when_they_are_chosen(make_version: Any, images: Any) -> None:
    promotions.promote(make_version("old"), gate=False)
    candidate = make_version("new")
    real = images("real", ("p1", "benign", "1"))
    images("drawn", ("p2", "benign", "2"), synthetic=True)
    assert list(comparisons.start(candidate).data_sets.all()) == [real]


def test_the_champion_is_not_compared_with_itself(make_version: Any) -> None:
    version = make_version("old")
    promotions.promote(version, gate=False)
    with pytest.raises(comparisons.ComparisonRefusedError, match="is the champion already"):
        comparisons.start(version)


def test_without_images_the_comparison_says_so_and_promotion_asks_for_a_reason(
    make_version: Any, make_user: Any, images: Any, train: Callable[[], None]
) -> None:
    promotions.promote(make_version("old", seen=Seen.of(["P 1"], [])), gate=False)
    candidate, ada = make_version("new"), make_user("ada", "admin")
    with pytest.raises(comparisons.ComparisonRefusedError, match="no data set"):
        comparisons.start(candidate, by=ada)
    images("a", ("p  1 ", "benign", "1"))  # the same patient, otherwise written
    comparison = comparisons.start(candidate, by=ada)
    train()
    comparison.refresh_from_db()
    assert (comparison.state, comparison.result["images"]) == (State.SUCCEEDED, 0)
    with pytest.raises(promotions.PromotionRefusedError) as refusal:
        comparisons.promote(candidate, by=ada)
    assert refusal.value.code == "no_unseen_images"
    comparisons.promote(candidate, by=ada, reason="No other hospital's images are at hand.")
    assert registry.champion() == candidate


@pytest.mark.slow
def test_a_less_sensitive_model_is_refused_and_a_better_one_let_through(
    make_version: Any, make_user: Any, checked: DataSet, train: Callable[[], None]
) -> None:
    good, blind, ada = make_version("good", bias=5), make_version("blind", bias=-5), make_user("ada", "admin")
    promotions.promote(good, gate=False)
    DataSet.objects.update(synthetic=False)
    checked.refresh_from_db()
    comparison = comparisons.start(blind, among=[checked], by=ada)
    train()
    comparison.refresh_from_db()
    assert comparison.state == State.SUCCEEDED, (comparison.error, comparison.log_end())
    assert (comparison.result["images"], comparison.result["patients"]) == (16, 8)
    sensitivity = next(row for row in comparison.result["measures"] if row["measure"] == "sensitivity")
    assert (sensitivity["champion"], sensitivity["candidate"]) == (1, 0)
    with pytest.raises(promotions.PromotionRefusedError, match="fewer of the malignant images") as refusal:
        comparisons.promote(blind, by=ada)
    assert refusal.value.code == "less_sensitive"
    assert registry.champion() == good

    promotions.promote(blind, gate=False)
    comparisons.start(good, among=[checked], by=ada)
    train()
    comparisons.promote(good, by=ada)
    assert registry.champion() == good


def test_a_comparison_with_a_former_champion_counts_for_nothing(make_version: Any, make_user: Any) -> None:
    old, new, newer = make_version("old"), make_version("new"), make_version("newer")
    promotions.promote(old, gate=False)
    Comparison.objects.create(candidate=newer, champion=old, state=State.SUCCEEDED, result={"images": 5})
    promotions.promote(new, gate=False)
    assert comparisons.evidence_for(newer, new) is None


def test_a_patient_who_is_given_away_in_one_data_set_is_left_out_of_all(make_version: Any, images: Any) -> None:
    promotions.promote(make_version("old", seen=Seen.of([], ["1".ljust(64, "0")])), gate=False)
    one, other = images("a", ("p1", "benign", "1")), images("b", ("P1", "benign", "2"), ("p3", "benign", "3"))
    DataSetImage.objects.filter(data_set=one).update(whole=False)
    kept, _ = chosen_for(make_version("new"), one, other)
    assert kept == {"3"}


def test_synthetic_images_take_a_reason(make_version: Any, make_user: Any, images: Any) -> None:
    old, new = make_version("old"), make_version("new")
    promotions.promote(old, gate=False)
    drawn = images("drawn", ("p1", "benign", "1"), synthetic=True)
    comparison = comparisons.start(new, among=[drawn])
    result = {**comparison.result, "images": 9, "patients": 9, "benign": 4, "malignant": 5, "measures": []}
    Comparison.objects.filter(pk=comparison.pk).update(state=State.SUCCEEDED, result=result)
    drawn.delete()  # it was synthetic all the same
    with pytest.raises(promotions.PromotionRefusedError) as refusal:
        comparisons.promote(new, by=make_user("ada", "admin"))
    assert refusal.value.code == "synthetic_images"


def test_a_failed_comparison_is_shown(make_version: Any) -> None:
    old, new = make_version("old"), make_version("new")
    promotions.promote(old, gate=False)
    failed = Comparison.objects.create(candidate=new, champion=old, state=State.FAILED, error="No memory.")
    assert comparisons.latest(new, old) == failed
    assert comparisons.latest_result(new, old) is None
