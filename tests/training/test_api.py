"""Training over REST."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from patchvote.jobs.models import State
from patchvote.registry import services as registry
from patchvote.training import data_sets
from patchvote.training.models import Comparison, DataSet, DataSetImage, TrainingRun
from testing.data_sets import pack
from testing.training import as_upload

pytestmark = pytest.mark.django_db

API = "/api/v1/"


@pytest.fixture
def admin(api: Any, make_user: Any) -> Any:
    return api(make_user("ada", "admin"))


@pytest.fixture
def ready() -> DataSet:
    return DataSet.objects.create(name="lab", version=1, source="folder", origin="/nowhere", state=State.SUCCEEDED)


def as_json(value: Any) -> str:
    """As people can send it: with what no careful program would write."""
    return json.dumps(value).replace("Infinity", "1e999")


def test_a_data_set_is_sent_and_watched(admin: Any, zipped: bytes) -> None:
    answer = admin.post(f"{API}data-sets/", {"name": "new", "source": "archive", "archive": as_upload(zipped)})
    assert answer.status_code == 202, answer.data
    assert answer["Location"] == answer.data["url"]
    assert answer["Retry-After"]
    watched = admin.get(answer.data["url"])
    assert watched.data["state"] == "queued"
    assert watched.data["created_by"] == "ada"
    assert admin.get(f"{API}data-sets/").data["count"] == 1


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"source": "archive"}, "archive"),
        ({"source": "archive", "archive": as_upload(pack({"../a.png": b""}))}, "archive"),
        ({"source": "folder", "folder": "/etc"}, "folder"),
        ({"source": "folder", "folder": "a" * 300}, "folder"),
        ({"source": "folder"}, "folder"),
        ({"source": "reviews", "since": "yesterday"}, "since"),
        ({"source": "archive", "name": ""}, "name"),
        ({}, "source"),
    ],
)
def test_a_bad_data_set_is_refused_by_field(admin: Any, fields: dict[str, Any], field: str, tmp_path: Any) -> None:
    (tmp_path / "import").mkdir()
    answer = admin.post(f"{API}data-sets/", {"name": "bad", **fields})
    assert answer.status_code == 400
    assert answer.data[field][0]["message"]
    assert answer.data["code"]
    assert not DataSet.objects.exists()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ([{"name": "bad"}], "non_field_errors"),
        ("bad", "non_field_errors"),
        ({"name": ["bad"], "source": "archive"}, "name"),
        ({"name": "bad", "source": "reviews", "since": 5}, "since"),
        ({"name": "bad", "source": "archive", "archive": "a.zip"}, "archive"),
    ],
)
def test_a_data_set_of_the_wrong_shape_is_refused(admin: Any, body: Any, field: str) -> None:
    answer = admin.post(f"{API}data-sets/", body, format="json")
    assert answer.status_code == 400, answer.data
    assert answer.data[field][0]["message"]


def test_a_folder_is_wanted_where_the_source_is_one(admin: Any) -> None:
    answer = admin.post(f"{API}data-sets/", {"name": "bad", "source": "folder", "folder": " "})
    assert answer.data["folder"] == [{"message": "Choose a folder.", "code": "invalid"}]


def test_a_data_set_that_is_refused_when_it_is_stored_is_refused(admin: Any, monkeypatch: Any, tmp_path: Any) -> None:
    def refuse(*_: Any) -> None:
        raise data_sets.DataSetRefusedError(["It was there a moment ago."])

    monkeypatch.setattr(data_sets, "add_folder", refuse)
    (tmp_path / "import" / "lab").mkdir(parents=True)
    answer = admin.post(f"{API}data-sets/", {"name": "bad", "source": "folder", "folder": "lab"})
    assert answer.status_code == 400
    assert answer.data["folder"][0]["message"] == "It was there a moment ago."


def test_reviewed_cases_are_chosen_by_plain_days(admin: Any) -> None:
    given = {"name": "reviewed", "source": "reviews", "since": "2026-01-02", "until": None, "only_corrected": True}
    answer = admin.post(f"{API}data-sets/", given, format="json")
    assert answer.status_code == 202, answer.data
    chosen = {"magnification": None, "since": "2026-01-02", "until": None, "only_corrected": True}
    assert DataSet.objects.get().selection == chosen


def test_one_job_is_read_once(admin: Any, ready: DataSet) -> None:
    with CaptureQueriesContext(connection) as queries:
        assert admin.get(f"{API}data-sets/{ready.pk}/").status_code == 200
    assert sum('FROM "training_dataset"' in query["sql"] for query in queries) == 1


def test_a_run_is_started_watched_and_cancelled(admin: Any, ready: DataSet) -> None:
    given = {"data_set": str(ready.pk), "name": "mine-40x", "options": {"folds": 3}}
    answer = admin.post(f"{API}training-runs/", given, format="json")
    assert answer.status_code == 202, answer.data
    assert answer.data["options"]["folds"] == 3
    assert answer.data["options"]["network"] == "efficientnet_lite0"
    assert (answer.data["state"], answer.data["epochs"], answer.data["folds"]) == ("queued", [], [])
    url = answer.data["url"]
    assert admin.get(f"{url}log/").content == b""
    cancelled = admin.post(f"{url}cancel/")
    assert (cancelled.status_code, cancelled.data["state"]) == (200, "cancelled")
    again = admin.post(f"{url}cancel/")
    assert (again.status_code, again.data["code"]) == (409, "already_ended")
    assert "epochs" not in admin.get(f"{API}training-runs/").data["results"][0]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"options": {"folds": 1}}, "options"),
        ({"options": {"colour": "red"}}, "options"),
        ({"options": {"network": "squeezenet"}}, "options"),
        ({"options": "folds"}, "options"),
        ({"options": {"network": "foo"}}, "options"),
        ({"options": {"task": "subtype"}}, "options"),
        ({"options": {"protocol": "official"}}, "options"),
        ({"options": {"learning_rate": 1e999}}, "options"),
        ({"options": {"weight_decay": "nan"}}, "options"),
        ({"options": {"epochs": 10**15}}, "options"),
        ({"options": {"patience": 10**15}}, "options"),
        ({"options": {"folds": 10**6}}, "options"),
        ({"options": {"repeats": 10**6}}, "options"),
        ({"options": {"seeds": 10**6}}, "options"),
        ({"options": {"seed": 2**32}}, "options"),
        ({"options": {"draws": 10**9}}, "options"),
        ({"options": {"batch_size": 10**12}}, "options"),
        ({"options": {"grid": {"size": 10**400}}}, "options"),
        ({"options": {"grid": "moon"}}, "options"),
        ({"options": {"\ud800": 1}}, "options"),
        ({"options": {"magnification": "\ud800"}}, "options"),
        ({"name": "Not A Name"}, "name"),
        ({"data_set": "00000000-0000-0000-0000-000000000000"}, "data_set"),
        ({"data_set": "no id"}, "data_set"),
    ],
)
def test_a_bad_run_is_refused_by_field(admin: Any, ready: DataSet, change: dict[str, Any], field: str) -> None:
    given = {"data_set": str(ready.pk), "name": "mine", **change}
    answer = admin.post(f"{API}training-runs/", as_json(given), content_type="application/json")
    assert answer.status_code == 400, answer.data
    assert answer.data[field]
    assert not TrainingRun.objects.exists()


def test_options_that_are_wrong_are_named_one_by_one(admin: Any, ready: DataSet) -> None:
    options = {"network": "foo", "protocol": "official", "task": "subtype", "also": ["100X"]}
    given = {"data_set": str(ready.pk), "name": "mine", "options": options}
    answer = admin.post(f"{API}training-runs/", given, format="json")
    assert {error["code"] for error in answer.data["options"]} == {"invalid_options"}
    sentences = [error["message"] for error in answer.data["options"]]
    assert sentences[0].startswith("network: This network does not exist. Available networks: alexnet,")
    assert [sentence.split(":")[0] for sentence in sentences[1:3]] == ["protocol", "task"]
    assert sentences[3].startswith("Folds that share patients")


def test_the_largest_run_that_is_taken_has_an_estimate(admin: Any, ready: DataSet) -> None:
    DataSetImage.objects.create(
        data_set=ready, path="a.png", sha256="0" * 64, label="benign", patient="a", width=700, height=460
    )
    largest = {
        "network": "vgg16", "mode": "scratch", "folds": 100, "repeats": 100, "epochs": 1000, "draws": 10_000,
        "seeds": 32, "grid": "thesis",
    }  # fmt: skip
    given = {"data_set": str(ready.pk), "name": "mine", "options": largest}
    answer = admin.post(f"{API}training-runs/", given, format="json")
    assert answer.status_code == 202, answer.data
    assert answer.data["estimated_seconds"] == 2**31 - 1
    assert answer.data["options"]["grid"]["layout"] == "step"
    again = admin.post(f"{API}training-runs/", {**given, "options": answer.data["options"]}, format="json")
    assert again.status_code == 202, again.data


def test_an_unchecked_data_set_is_a_conflict(admin: Any) -> None:
    data_set = DataSet.objects.create(name="lab", version=1, source="folder", origin="/nowhere")
    answer = admin.post(f"{API}training-runs/", {"data_set": str(data_set.pk), "name": "mine"}, format="json")
    assert (answer.status_code, answer.data["code"]) == (409, "data_set_not_checked")


def test_promotion_is_refused_with_the_gates_sentence_and_let_through_with_a_reason(
    admin: Any, tiny_champion: Any, shipped_version: Any
) -> None:
    url = f"{API}models/{shipped_version.pk}/promote/"
    refused = admin.post(url, {}, format="json")
    assert (refused.status_code, refused.data["code"]) == (409, "not_compared")
    promoted = admin.post(url, {"reason": "It was compared on paper."}, format="json")
    assert (promoted.status_code, promoted.data["champion"]) == (200, True)
    assert registry.champion() == shipped_version
    again = admin.post(url, {"reason": "It was compared on paper."}, format="json")
    assert (again.status_code, again.data["code"]) == (409, "already_champion")


def test_a_comparison_is_asked_for(admin: Any, tiny_champion: Any, shipped_version: Any, ready: DataSet) -> None:
    answer = admin.post(f"{API}models/{shipped_version.pk}/compare/", {"data_sets": [str(ready.pk)]}, format="json")
    assert answer.status_code == 202, answer.data
    assert answer.data["candidate"]["name"] == shipped_version.name
    assert list(Comparison.objects.get().data_sets.all()) == [ready]
    assert admin.get(answer["Location"]).data["state"] == "queued"
    own = admin.post(f"{API}models/{tiny_champion.pk}/compare/", {}, format="json")
    assert (own.status_code, own.data["code"]) == (409, "already_champion")


CALLS = [
    ("get", "data-sets/"), ("post", "data-sets/"), ("get", "training-runs/"), ("post", "training-runs/"),
    ("get", "comparisons/"), ("post", "models/{version}/promote/"), ("post", "models/{version}/compare/"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), CALLS)
@pytest.mark.parametrize(("role", "status"), [(None, 401), ("submitter", 403), ("reviewer", 403)])
def test_only_admins_train_and_promote(
    api: Any, make_user: Any, tiny_champion: Any, method: str, path: str, role: str | None, status: int
) -> None:
    client = api(make_user("someone", role)) if role else api()
    answer = getattr(client, method)(API + path.format(version=tiny_champion.pk))
    assert answer.status_code == status
    assert answer.data["code"]
