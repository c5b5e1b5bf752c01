"""Nobody sees another's case, image or analysis, by any URL."""

from typing import Any

import pytest
from django.test import Client

from patchvote.cases.models import Case

PAGES = ["/cases/{case}/", "/cases/{case}/status/"]
PAGE_ACTIONS = ["/cases/{case}/cancel/", "/cases/{case}/analyse-again/"]
API = ["/api/v1/cases/{case}/", "/api/v1/images/{image}/", "/api/v1/images/{image}/?size=thumbnail"]
API_ACTIONS = ["/api/v1/cases/{case}/cancel/", "/api/v1/cases/{case}/reanalyse/"]
ADMIN = [
    "/admin/", "/admin/cases/case/", "/admin/cases/case/{case}/change/", "/admin/cases/image/{image}/change/",
    "/admin/cases/analysis/", "/admin/cases/analysis/{analysis}/change/", "/admin/jobs/worker/",
    "/admin/registry/modelversion/", "/admin/registry/modelversion/{model}/change/", "/admin/accounts/user/",
    "/admin/knox/authtoken/",
]  # fmt: skip


@pytest.fixture
def owner(make_user: Any) -> Any:
    return make_user("owner")


@pytest.fixture
def case(submit: Any, owner: Any, finish: Any) -> Case:
    case = submit(owner, reference="confidential")
    finish()
    return case


@pytest.fixture
def fill(case: Case, tiny_champion: Any) -> Any:
    image = case.images.get()
    return lambda path: path.format(case=case.pk, image=image.pk, analysis=image.analysis.pk, model=tiny_champion.pk)


@pytest.fixture
def visit(client: Client, make_user: Any, owner: Any) -> Any:
    """The status of a request by somebody: owner, stranger, reviewer, admin or nobody."""

    def send(who: str, path: str, method: str = "get") -> int:
        if who != "nobody":
            client.force_login(owner if who == "owner" else make_user(who, "submitter" if who == "stranger" else who))
        return getattr(client, method)(path).status_code

    return send


@pytest.mark.parametrize("path", PAGES + API)
@pytest.mark.parametrize(
    ("who", "status"), [("owner", 200), ("stranger", 404), ("reviewer", 200), ("admin", 200), ("nobody", None)]
)
def test_reading(visit: Any, fill: Any, path: str, who: str, status: int | None) -> None:
    expected = status or (401 if path in API else 302)
    assert visit(who, fill(path)) == expected


@pytest.mark.parametrize("path", PAGE_ACTIONS + API_ACTIONS)
@pytest.mark.parametrize(("who", "status"), [("stranger", 404), ("nobody", None)])
def test_acting(visit: Any, fill: Any, path: str, who: str, status: int | None, case: Case) -> None:
    assert visit(who, fill(path), "post") == (status or (401 if path in API_ACTIONS else 302))
    assert case.images.get().analyses.count() == 1


@pytest.mark.parametrize("path", ADMIN)
@pytest.mark.parametrize(("who", "status"), [("owner", 302), ("reviewer", 302), ("admin", 200), ("nobody", 302)])
def test_the_admin_site_is_for_admins(visit: Any, fill: Any, path: str, who: str, status: int) -> None:
    assert visit(who, fill(path)) == status


@pytest.mark.parametrize(("who", "count"), [("owner", 1), ("stranger", 0), ("reviewer", 1), ("admin", 1)])
def test_lists(client: Client, make_user: Any, owner: Any, case: Case, who: str, count: int) -> None:
    user = owner if who == "owner" else make_user(who, "submitter" if who == "stranger" else who)
    client.force_login(user)
    assert client.get("/api/v1/cases/").json()["count"] == count
    page = client.get("/cases/").content.decode()
    assert ("confidential" in page) == bool(count)
    assert client.get("/api/v1/cases/", {"reference": "confid"}).json()["count"] == count


def test_the_files_that_were_sent_are_served_nowhere(client: Client, owner: Any, case: Case) -> None:
    client.force_login(owner)
    name = case.images.get().file.name
    for path in (f"/media/{name}", f"/{name}", f"/static/{name}", f"/static/../media/{name}"):
        assert client.get(path).status_code == 404


def test_what_a_browser_gets_is_encoded_anew(client: Client, owner: Any, submit: Any, upload: Any) -> None:
    from PIL import Image as Picture

    from testing.images import encode, noise

    exif = Picture.Exif()
    exif[0x010E] = "patient name"
    data = encode(noise(), "JPEG", exif=exif) + b"<script>alert(1)</script>"
    image = submit(owner, upload(data, "a.jpg")).images.get()
    client.force_login(owner)
    answer = client.get(image.get_absolute_url())
    assert answer["Content-Type"] == "image/jpeg"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert "private" in answer["Cache-Control"]
    assert b"patient name" not in answer.content and b"<script>" not in answer.content
    assert client.get(image.get_absolute_url(), {"size": "thumbnail"}).content != answer.content
    assert client.get(image.get_absolute_url(), {"size": "huge"}).status_code == 400


def test_nothing_in_the_ledger_can_be_edited_in_the_admin(
    client: Client, make_user: Any, fill: Any, case: Case
) -> None:
    client.force_login(make_user("root", "admin"))
    for path in ("/admin/cases/case/add/", "/admin/cases/analysis/add/", "/admin/registry/modelversion/add/"):
        assert client.get(path).status_code == 403
    before = Case.objects.values().get(pk=case.pk)
    assert (
        client.post(fill("/admin/cases/case/{case}/change/"), {"reference": "x", "verdict": "benign"}).status_code
        == 403
    )
    assert client.post(fill("/admin/cases/case/{case}/delete/"), {"post": "yes"}).status_code == 403
    assert client.post(fill("/admin/cases/analysis/{analysis}/change/"), {"state": "queued"}).status_code == 403
    assert Case.objects.values().get(pk=case.pk) == before


def test_admin_actions_analyse_again_and_cancel(client: Client, make_user: Any, case: Case) -> None:
    client.force_login(make_user("root", "admin"))

    def act(action: str) -> str:
        answer = client.post("/admin/cases/case/", {"action": action, "_selected_action": str(case.pk)}, follow=True)
        return answer.content.decode()

    assert "1 case changed" in act("analyse_again")
    case.refresh_from_db()
    assert case.state == "queued"
    assert "still being analysed" in act("analyse_again")
    assert "1 case changed" in act("cancel")
    case.refresh_from_db()
    assert case.state == "cancelled"
