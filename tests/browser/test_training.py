"""An admin makes a data set, trains a model, watches the curves, promotes it, submits a case and rolls back."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from testing.browser import Watched
from testing.data_sets import pack, write_small_tree

pytestmark = [pytest.mark.browser, pytest.mark.slow]

TRAINING_MS = 240_000


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = tmp_path_factory.mktemp("training") / "tree"
    write_small_tree(tree, patients=4, images=2, seed=3)
    path = tree.parent / "lab.zip"
    path.write_bytes(pack({str(p.relative_to(tree)): p.read_bytes() for p in tree.rglob("*") if p.is_file()}))
    return path


def test_from_a_zip_to_a_champion_and_back(
    visit: Watched, archive: Path, picture: Path, user_page: Page, accessible: Callable[[Page], None]
) -> None:
    def check_accessibility() -> None:
        """On a page of its own: axe-core adds styles, of which the browser complains."""
        user_page.goto(page.url)
        accessible(user_page)

    page = visit.signed_in()
    page.goto("/admin/training/dataset/add/")
    expect(page.locator("fieldset.source-folder")).to_be_hidden()
    page.fill("[name=name]", "lab")
    page.set_input_files("[name=archive]", archive)
    page.click("[name=_save]")
    expect(page.locator(".state.succeeded")).to_be_visible(timeout=TRAINING_MS)
    expect(page.get_by_role("heading", name="Duplicates with other data sets")).to_be_visible()
    expect(page.locator(".thumbnails img").first).to_have_js_property("complete", value=True)
    check_accessibility()

    page.get_by_role("link", name="Start a training run").click()
    expect(page.locator("#estimate")).to_have_text(re.compile("Estimated duration"))
    page.fill("[name=name]", "lab-40x")
    page.select_option("[name=network]", "squeezenet")
    page.select_option("[name=mode]", "scratch")
    page.fill("[name=folds]", "2")
    for summary in page.locator("fieldset summary").all():
        summary.click()
    page.fill("[name=epochs]", "3")
    page.fill("[name=draws]", "2")
    page.fill("[name=batch_size]", "8")
    page.click("[name=_save]")
    expect(page.locator("#live svg")).to_be_visible(timeout=TRAINING_MS)
    drawn = page.locator("#live svg path").count()
    expect(page.locator("#live .state.running")).to_be_visible()
    expect(page.locator("#live svg path")).not_to_have_count(drawn, timeout=TRAINING_MS)
    expect(page.locator("#live .state.succeeded")).to_be_visible(timeout=TRAINING_MS)
    report = page.frame_locator("iframe.report")
    expect(report.get_by_role("heading", name="How it was measured")).to_be_visible()

    check_accessibility()
    page.get_by_role("link", name="Compare and promote").click()
    expect(page.locator(".verdict-of-gate")).to_contain_text("May be promoted with a reason only", timeout=TRAINING_MS)
    check_accessibility()
    page.fill("[name=reason]", "no")
    page.get_by_role("button", name="Promote anyway").click()
    expect(page.locator(".errorlist")).to_be_visible()
    page.fill("[name=reason]", "A rehearsal on synthetic images, to be rolled back.")
    page.get_by_role("button", name="Promote anyway").click()
    expect(page.locator(".messagelist")).to_contain_text("The champion is now lab-40x v1")

    assert "lab-40x v1" in verdict_of_a_new_case(page, picture)
    page.goto("/admin/registry/modelversion/")
    page.get_by_role("link", name=re.compile("Roll back")).first.click()
    page.locator("form").get_by_role("button", name=re.compile("Roll back")).click()
    expect(page.locator(".messagelist")).to_contain_text("patchvote-40x")
    assert "patchvote-40x v1" in verdict_of_a_new_case(page, picture)


def verdict_of_a_new_case(page: Page, picture: Path) -> str:
    page.goto("/cases/new/")
    page.set_input_files("input[type=file]", picture)
    page.click("#send")
    page.wait_for_selector(".summary .verdict:is(.benign, .malignant)", timeout=60_000)
    return str(page.inner_text("main"))


def test_a_bad_zip_is_refused_with_its_sentence(visit: Watched, tmp_path: Path) -> None:
    bad = tmp_path / "bad.zip"
    bad.write_bytes(pack({"../../evil.png": b"x"}))
    page = visit.signed_in()
    page.goto("/admin/training/dataset/add/")
    page.fill("[name=name]", "bad")
    page.set_input_files("[name=archive]", bad)
    page.click("[name=_save]")
    expect(page.locator(".errorlist").first).to_contain_text("..")
