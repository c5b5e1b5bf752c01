"""Choosing and sending images."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from testing.images import encode, noise

pytestmark = [pytest.mark.browser, pytest.mark.slow]

DROP = """
([target, files]) => {
  const data = new DataTransfer();
  for (const [name, type, content] of files) {
    const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
    data.items.add(new File([bytes], name, { type }));
  }
  for (const kind of ["dragenter", "dragover", "drop"]) {
    document.querySelector(target).dispatchEvent(
      new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true }));
  }
}
"""


def drop(page: Page, *files: tuple[str, str, bytes]) -> None:
    coded = [[name, kind, base64.b64encode(content).decode()] for name, kind, content in files]
    page.evaluate(DROP, ["#drop", coded])


def row(page: Page, name: str) -> Any:
    return page.locator("#chosen li", has_text=name)


def test_a_case_from_the_form_to_its_fifteen_votes(visit: Any, submitted: Any) -> None:
    page = visit.signed_in()
    submitted(page, reference="B-2026-017")
    expect(page.get_by_role("heading", level=1)).to_have_text("Case B-2026-017")
    expect(page.locator(".votes .tile")).to_have_count(15)
    expect(page.locator(".summary")).to_contain_text("Research use only, not a diagnosis.")
    page.click("text=Table of votes")
    expect(page.locator(".table-of-votes tbody tr")).to_have_count(15)
    expect(page.locator(".facts.job")).to_contain_text("succeeded")


def test_two_images_make_one_case(visit: Any, picture: Path, tmp_path: Path, submitted: Any) -> None:
    other = tmp_path / "other.jpg"
    other.write_bytes(encode(noise(500, 300, seed=3), "JPEG"))
    page = visit.signed_in()
    submitted(page, picture, other)
    expect(page.locator("article.picture")).to_have_count(2)
    expect(page.locator("article.picture .votes")).to_have_count(2)


def test_bad_files_are_named_at_once_and_nothing_is_sent(visit: Any, png: bytes) -> None:
    page = visit.signed_in()
    page.goto("/cases/new/")
    drop(
        page,
        ("good.png", "image/png", png),
        ("notes.txt", "text/plain", b"not an image"),
        ("broken.png", "image/png", png[:200]),
        ("empty.png", "image/png", b""),
        ("tiny.png", "image/png", encode(noise(200, 300))),
    )
    expect(row(page, "good.png")).to_contain_text(re.compile("700 . 460"))
    expect(row(page, "notes.txt")).to_contain_text("not a kind of image")
    expect(row(page, "broken.png")).to_contain_text("cannot be opened")
    expect(row(page, "empty.png")).to_contain_text("empty")
    expect(row(page, "tiny.png")).to_contain_text("at least 225")
    expect(page.locator("#chosen li.bad")).to_have_count(4)

    page.click("#send")
    expect(page.locator("#image-errors")).to_contain_text("Remove the images marked as wrong first")
    assert page.url.endswith("/cases/new/")

    for name in ("notes.txt", "broken.png", "empty.png", "tiny.png"):
        expect(page.locator("#image-errors")).not_to_be_empty()
        page.get_by_role("button", name=f"Remove {name}").click()
    expect(page.locator("#image-errors")).to_be_empty()
    page.click("#send")
    page.wait_for_url(re.compile(r"/cases/[0-9a-f-]{36}/"))
    expect(page.locator("article.picture h2")).to_have_text("good.png")


def test_too_many_images(visit: Any, png: bytes) -> None:
    page = visit.signed_in()
    page.goto("/cases/new/")
    drop(page, *((f"slide-{number}.png", "image/png", png) for number in range(22)))
    expect(page.locator("#count-error")).to_have_text("A case may have at most 20 images. Remove 2.")


def test_a_magnification_that_the_model_was_not_made_for_is_warned_of(visit: Any) -> None:
    page = visit.signed_in()
    page.goto("/cases/new/")
    warning = page.locator("#unsuited")
    expect(warning).to_be_hidden()
    page.select_option("[name=magnification]", "400X")
    expect(warning).to_be_visible()
    page.select_option("[name=magnification]", "40X")
    expect(warning).to_be_hidden()


def test_what_only_the_server_sees_is_shown_and_the_images_stay_chosen(
    visit: Any, tmp_path: Path, picture: Path
) -> None:
    # A TIFF cannot be opened by the browser, so only the server finds this one broken.
    broken = tmp_path / "broken.tif"
    broken.write_bytes(encode(noise(), "TIFF")[:1000])
    visit.expected.append("400 (Bad Request)")
    page = visit.signed_in()
    page.goto("/cases/new/")
    page.set_input_files("input[type=file]", [broken, picture])
    expect(row(page, "broken.tif")).to_contain_text("no preview")
    expect(row(page, "broken.tif")).to_contain_text("1 kB")
    page.click("#send")
    expect(page.locator("#image-errors")).to_contain_text("broken.tif:")
    expect(page.locator("#chosen li.bad .name")).to_have_text(["broken.tif"])
    expect(row(page, "slide.png")).to_be_visible()
    expect(page.locator("#send")).to_be_enabled()
    page.get_by_role("button", name="Remove broken.tif").click()
    expect(page.locator("#image-errors")).to_be_empty()
    page.click("#send")
    page.wait_for_url(re.compile(r"/cases/[0-9a-f-]{36}/"))


def test_an_upload_that_breaks_off_can_be_sent_again(visit: Any, picture: Path) -> None:
    visit.expected.append("net::ERR_")
    page = visit.signed_in()
    page.goto("/cases/new/")
    page.set_input_files("input[type=file]", picture)
    page.route("**/cases/new/", lambda route: route.abort())
    page.click("#send")
    expect(page.locator("#form-errors")).to_contain_text("The connection was interrupted")
    page.unroute("**/cases/new/")
    page.click("#send")
    page.wait_for_url(re.compile(r"/cases/[0-9a-f-]{36}/"))


def test_a_synthetic_sample_says_so(visit: Any) -> None:
    page = visit.signed_in()
    page.goto("/cases/new/")
    page.get_by_role("button", name="Try a synthetic sample").click()
    page.wait_for_selector(".summary .verdict:is(.benign, .malignant)")
    expect(page.locator(".badge.synthetic").first).to_have_text("synthetic sample")
    expect(page.locator("main")).to_contain_text("a drawn image, not tissue")
