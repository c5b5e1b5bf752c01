"""The admin's pages: forms, what they refuse, and who may see and do what."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from auditlog.models import LogEntry
from django.test import Client
from django.urls import reverse
from django.utils import translation

from patchvote.core import charts
from patchvote.jobs import ledger
from patchvote.jobs.models import State
from patchvote.training import curves, runs
from patchvote.training.models import Comparison, DataSet, DataSetImage, RunEpoch, RunFold, TrainingRun
from patchvote.training.options import LABELS
from testing.data_sets import pack
from testing.training import QUICK, TRAINED, as_upload

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin(make_user: Any) -> Client:
    client = Client()
    client.force_login(make_user("ada", "admin"))
    return client


@pytest.fixture
def ready(tmp_path: Any) -> DataSet:
    data_set = DataSet.objects.create(
        name="lab", version=1, source="folder", origin=str(tmp_path), state=State.SUCCEEDED, image_count=2
    )
    for number, label in enumerate(("benign", "malignant")):
        DataSetImage.objects.create(
            data_set=data_set, path=f"{number}.png", sha256=str(number) * 64, label=label, patient=f"p{number}",
            magnification="40X", width=700, height=460,
        )  # fmt: skip
    return data_set


def run_on(data_set: DataSet, **fields: Any) -> TrainingRun:
    return TrainingRun.objects.create(data_set=data_set, name="mine", options=QUICK.model_dump(mode="json"), **fields)


def test_a_zip_is_added_and_its_page_watched(admin: Client, zipped: bytes) -> None:
    url = reverse("admin:training_dataset_add")
    assert "manifest.csv" in admin.get(url).content.decode()
    answer = admin.post(url, {"name": "new", "source": "archive", "archive": as_upload(zipped)})
    data_set = DataSet.objects.get()
    assert answer.status_code == 302
    assert answer["Location"] == data_set.get_absolute_url()
    assert (data_set.state, data_set.version, str(data_set.created_by)) == (State.QUEUED, 1, "ada")
    assert data_set.archive.read_bytes() == zipped
    page = admin.get(data_set.get_absolute_url()).content.decode()
    assert "No training worker is running" in page
    assert f"/{data_set.pk}/live/" in page


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"source": "archive"}, "Choose a zip."),
        ({"source": "archive", "archive": b"text"}, "zip"),
        ({"source": "archive", "archive": pack({"../evil.png": b""})}, ".."),
        ({"source": "archive", "archive": pack({"bomb.png": b"\0" * 30_000_000})}, "bomb"),
        ({"source": "folder", "folder": "../.."}, "is not a folder below"),
        ({"source": "folder"}, "Choose a folder."),
        ({"source": "folder", "folder": "a" * 300}, "is not a folder below"),
        ({"source": "moon"}, "Select a valid choice"),
    ],
)
def test_what_cannot_be_a_data_set_is_refused_with_a_sentence(
    admin: Client, fields: dict[str, Any], sentence: str, tmp_path: Any
) -> None:
    (tmp_path / "import").mkdir()
    if "archive" in fields:
        fields = {**fields, "archive": as_upload(fields["archive"])}
    answer = admin.post(reverse("admin:training_dataset_add"), {"name": "bad", **fields})
    assert answer.status_code == 200
    assert sentence in answer.content.decode()
    assert not DataSet.objects.exists()


def test_the_problems_of_a_data_set_are_listed(admin: Client) -> None:
    data_set = DataSet.objects.create(name="lab", version=1, source="archive")
    [job] = ledger.claim(DataSet, "w", 1)
    ledger.report(job, error_details=["manifest.csv, line 2: the label 'healthy' is not one of benign, malignant."])
    ledger.fail(job, "data_set_problems", "The data set cannot be used.")
    page = admin.get(data_set.get_absolute_url()).content.decode()
    assert "The data set cannot be used." in page
    assert "&#x27;healthy&#x27; is not one of" in page


def test_a_data_set_is_shown_and_deleted_only_while_nothing_was_made_of_it(admin: Client, ready: DataSet) -> None:
    page = admin.get(ready.get_absolute_url()).content.decode()
    assert "Start a training run" in page
    delete = reverse("admin:training_dataset_delete", args=[ready.pk])
    run_on(ready)
    assert admin.post(delete, {"post": "yes"}).status_code == 403
    TrainingRun.objects.all().delete()
    assert admin.post(delete, {"post": "yes"}).status_code == 302
    assert not DataSet.objects.exists()


def test_a_run_starts_with_a_data_set_and_a_name_alone(admin: Client, ready: DataSet) -> None:
    url = reverse("admin:training_trainingrun_add")
    page = admin.get(url, {"data_set": str(ready.pk)}).content.decode()
    assert "The defaults are good" in page
    answer = admin.post(url, {"data_set": str(ready.pk), "name": "mine-40x"})
    run = TrainingRun.objects.get()
    assert answer["Location"] == run.get_absolute_url()
    assert run.options == {**QUICK.model_dump(mode="json"), "folds": 5, "anywhere": False, "turn": False}
    assert run.estimated_seconds


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"name": "Not A Name"}, "Use lowercase letters"),
        ({"folds": "1"}, "greater than or equal to 2"),
        ({"network": "squeezenet", "mode": "frozen"}, "no linear head can replace its last layer"),
        ({"also": ["100X"], "protocol": "thesis"}, "Folds that share patients"),
        ({"network": "hal9000"}, "Select a valid choice"),
        ({"learning_rate": "nan"}, "Enter a number"),
        ({"learning_rate": "1e999"}, "Enter a number"),
        ({"protocol": "official"}, "Select a valid choice"),
        ({"epochs": str(10**15)}, "less than or equal to 1000"),
        ({"folds": str(10**6)}, "less than or equal to 100"),
    ],
)
def test_options_that_cannot_work_are_refused(
    admin: Client, ready: DataSet, fields: dict[str, Any], sentence: str
) -> None:
    given = {"data_set": str(ready.pk), "name": "mine", **fields}
    answer = admin.post(reverse("admin:training_trainingrun_add"), given)
    assert answer.status_code == 200
    assert sentence in answer.content.decode()
    assert not TrainingRun.objects.exists()


def test_the_estimate_is_in_words(admin: Client, ready: DataSet) -> None:
    url = reverse("admin:training_trainingrun_estimate")
    assert admin.get(url, {"data_set": str(ready.pk), "name": "mine"}).json()["text"].startswith("Estimated duration: ")
    assert admin.get(url, {"data_set": "", "name": "mine"}).json() == {"text": ""}


def test_estimates_are_not_learnt_from_runs_that_found_their_features_in_the_cache(
    admin: Client, ready: DataSet
) -> None:
    usual = runs.estimated_seconds(ready, QUICK)
    run_on(ready, state=State.SUCCEEDED, seconds=3600)
    slow = runs.estimated_seconds(ready, QUICK)
    assert usual is not None
    assert slow is not None
    assert slow > 10 * usual
    for _ in range(4):
        run_on(ready, state=State.SUCCEEDED, seconds=14)
    assert runs.estimated_seconds(ready, QUICK) == slow
    run_on(ready, state=State.SUCCEEDED, seconds=14)
    assert runs.estimated_seconds(ready, QUICK) != slow  # a machine may have become faster


def test_the_fit_on_all_images_is_named_in_the_curves(ready: DataSet) -> None:
    run = run_on(ready, fold_count=2)
    for fold in range(3):
        RunEpoch.objects.create(run=run, fold=fold, number=1, training_accuracy=0.7, training_loss=0.6)
    names = [name for name in ("fold 1", "fold 2", "fold 3", "all images") if name in str(curves.chart(run))]
    assert names == ["fold 1", "fold 2", "all images"]


def test_curves_are_drawn_when_there_is_more_to_see_and_in_each_language(
    ready: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = 0
    inline = charts.inline

    def count(*given: Any, **named: Any) -> Any:
        nonlocal drawn
        drawn += 1
        return inline(*given, **named)

    monkeypatch.setattr(charts, "inline", count)
    run = run_on(ready, fold_count=2)
    assert curves.chart(run) is None
    for number in (1, 2):
        RunEpoch.objects.create(run=run, fold=0, number=number, training_accuracy=0.7, training_loss=0.6 / number)
        assert curves.chart(run) == curves.chart(run)
        assert drawn == number
    with translation.override("es"):
        curves.chart(run)
    assert drawn == 3
    other = run_on(ready, fold_count=2)
    RunEpoch.objects.create(run=other, fold=0, number=1, training_accuracy=0.7, training_loss=0.5)
    curves.chart(other)
    assert drawn == 4


def test_all_options_are_named_as_in_the_form(admin: Client, ready: DataSet) -> None:
    run = run_on(ready, state=State.SUCCEEDED)
    page = admin.get(run.get_absolute_url()).content.decode()
    named = {name: (value, changed) for name, value, changed in admin.get(run.get_absolute_url()).context["options"]}
    assert named["Threshold rule"] == ("balanced_accuracy", False)
    assert named["Folds"] == (2, True)
    assert named["Grid"] == ("cover", False)
    assert set(map(str, named)) == set(map(str, LABELS.values()))
    assert "Share of the pretrained layers" in page
    assert "backbone rate" not in page


def test_all_options_are_shown_however_they_were_stored(admin: Client, ready: DataSet) -> None:
    options = {**TRAINED.model_dump(mode="json"), "epochs": 10**9, "forgotten": 1}
    run = TrainingRun.objects.create(data_set=ready, name="mine", options=options, state=State.SUCCEEDED)
    assert "forgotten" in admin.get(run.get_absolute_url()).content.decode()


def test_patients_labels_are_in_the_readers_language(admin: Client, ready: DataSet) -> None:
    page = admin.get(ready.get_absolute_url(), headers={"accept-language": "es"}).content.decode()
    assert "<td>benigno</td>" in page
    assert "<td>benign</td>" not in page


def test_a_run_under_way_shows_where_it_is(admin: Client, ready: DataSet) -> None:
    run = run_on(ready)
    [job] = ledger.claim(TrainingRun, "w", 1)
    ledger.report(job, progress=0.4, stage="Training 3/10", seconds_left=95, fold_count=5)
    for number in (1, 2):
        RunEpoch.objects.create(run=run, fold=0, number=number, training_accuracy=0.7, training_loss=0.6 / number)
    RunFold.objects.create(
        run=run, number=0, name="fold 1", training_accuracy=0.9, training_loss=0.3, test_accuracy=0.8, test_loss=0.5,
        seconds=4,
    )  # fmt: skip
    live = admin.get(reverse("admin:training_trainingrun_live", args=[run.pk]))
    page = live.content.decode()
    assert "Training 3/10" in page
    assert "about 2 minutes left" in page
    assert "1 / 5" in page
    assert "<svg" in page
    assert "style=" not in page
    assert "HX-Refresh" not in live
    ledger.fail(job, "diverged", "The loss is no number any more.")
    ended = admin.get(reverse("admin:training_trainingrun_live", args=[run.pk]))
    assert ended["HX-Refresh"] == "true"


def test_a_run_is_cancelled_once(admin: Client, ready: DataSet) -> None:
    run = run_on(ready)
    url = reverse("admin:training_trainingrun_cancel", args=[run.pk])
    assert admin.get(url).status_code == 405
    assert "Cancelled." in admin.post(url, follow=True).content.decode()
    run.refresh_from_db()
    assert run.state == State.CANCELLED
    assert "It had ended already." in admin.post(url, follow=True).content.decode()
    [entry] = LogEntry.objects.filter(additional_data__act="cancelled")
    assert (entry.object_pk, entry.additional_data["actor"]) == (str(run.pk), admin.get("/").wsgi_request.user.username)


def test_the_report_runs_nothing_and_is_framed_by_our_pages_alone(admin: Client, ready: DataSet) -> None:
    run = run_on(ready, state=State.SUCCEEDED)
    url = reverse("admin:training_trainingrun_report", args=[run.pk])
    assert admin.get(url).status_code == 404
    run.folder.mkdir(parents=True)
    run.report.write_text("<h1>report</h1>")
    answer = admin.get(url)
    assert b"".join(answer.streaming_content) == b"<h1>report</h1>"  # type: ignore[attr-defined]
    assert answer["X-Frame-Options"] == "SAMEORIGIN"
    policy = answer["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "frame-ancestors 'self'" in policy


def test_another_run_like_one_begins_with_its_options(admin: Client, ready: DataSet) -> None:
    run = run_on(ready)
    run.options = QUICK.replace(folds=7, also=("100X",), balance="patient").model_dump(mode="json")
    run.save()
    form = admin.get(reverse("admin:training_trainingrun_add"), {"again": str(run.pk)}).context["adminform"].form
    assert form["folds"].value() == 7
    assert form["balance"].value() == "patient"
    assert form["data_set"].value() == ready.pk
    assert form["grid"].value() == "cover"


@pytest.mark.parametrize("query", [{"again": "foo"}, {"again": ""}, {"again": str(uuid.uuid4())}, {"data_set": "foo"}])
def test_what_is_no_run_to_begin_like_is_ignored(admin: Client, ready: DataSet, query: dict[str, str]) -> None:
    answer = admin.get(reverse("admin:training_trainingrun_add"), query)
    assert answer.status_code == 200
    assert answer.context["adminform"].form["folds"].value() == 5


PAGES = ["dataset_changelist", "dataset_add", "trainingrun_changelist", "trainingrun_add", "comparison_changelist"]


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize(("role", "status"), [("submitter", 302), ("reviewer", 302), ("admin", 200)])
def test_training_is_the_admins_business(make_user: Any, page: str, role: str, status: int) -> None:
    client = Client()
    client.force_login(make_user("someone", role))
    assert client.get(reverse(f"admin:training_{page}")).status_code == status
    assert Client().get(reverse(f"admin:training_{page}")).status_code == 302


@pytest.mark.parametrize("view", ["live", "report", "log", "cancel"])
def test_a_run_that_is_not_there_is_not_found(admin: Client, view: str) -> None:
    url = reverse(f"admin:training_trainingrun_{view}", args=[uuid.uuid4()])
    assert admin.post(url).status_code == 404


def test_the_page_of_promotion_shows_both_models_and_the_gate(
    admin: Client, tiny_champion: Any, ready: DataSet
) -> None:
    url = reverse("admin:training_promote", args=[tiny_champion.pk])
    page = admin.get(url).content.decode()
    assert "is the champion already" in page
    assert "Promote anyway" not in page
    assert not Comparison.objects.exists()


def test_pages_of_lists_ask_the_database_the_same_number_of_times(
    admin: Client, ready: DataSet, django_assert_max_num_queries: Any
) -> None:
    for _ in range(12):
        run_on(ready)
    with django_assert_max_num_queries(14):
        admin.get(reverse("admin:training_trainingrun_changelist"))


def test_networks_whose_weights_are_installed_are_marked() -> None:
    from classifier import networks
    from patchvote.training.options import WITH_WEIGHTS

    assert {name for name in networks.NETWORKS if networks.weights_installed(name)} == WITH_WEIGHTS
