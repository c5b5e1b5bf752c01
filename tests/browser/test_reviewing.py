"""A reviewer at work: verdict after verdict with the keyboard, another version, and the chart of it all."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from testing.images import encode, noise

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Two images of one case."""
    paths = [tmp_path / "left.png", tmp_path / "right.png"]
    for seed, path in enumerate(paths):
        path.write_bytes(encode(noise(seed=7000 + seed)))
    return paths


def test_a_case_is_reviewed_with_the_keyboard(visit: Any, submitted: Any, stack: Any, pictures: list[Path]) -> None:
    stack.create_user("rita", "a long enough word", "reviewer")
    rita = visit.sign_in("rita", "a long enough word")
    submitted(rita, *pictures, reference="to review")
    first, second = rita.locator("section.review").all()

    first.get_by_label("Comment").focus()
    rita.keyboard.type("Clear invasion")
    rita.keyboard.press("Tab")
    rita.keyboard.press("Enter")
    expect(first.locator(".note")).to_contain_text("The review was saved")
    expect(first.locator(".reviews")).to_contain_text("Clear invasion")
    expect(first.locator(".note")).to_be_in_viewport()

    first.get_by_role("link", name="Next image of this case: right.png").click()
    second.get_by_role("button", name=re.compile("Correct to")).click()
    expect(second.locator(".badge.corrected")).to_be_visible()
    second.get_by_role("link", name="Next case to review").click()
    expect(rita).not_to_have_url(re.compile("reviewed="))  # to another case, or back where none waits

    rita.goto("/cases/?q=to+review")
    expect(rita.locator(".history .badge.corrected")).to_have_text("disagrees")
    rita.goto("/cases/agreement/")
    expect(rita.locator("svg.chart")).to_be_visible()
    expect(rita.locator("svg.chart text").first).to_have_css("fill", "rgb(29, 33, 48)")


def test_a_comment_is_safe_while_images_are_analysed_again(visit: Any, submitted: Any) -> None:
    page = visit.signed_in()
    page.clock.install()
    submitted(page)
    page.select_option("select[name=version]", index=1)
    page.get_by_role("button", name="Analyse again").click()
    comment = page.get_by_label("Comment")
    expect(comment).to_be_visible(timeout=60_000)  # together with the verdict, when the page no longer polls
    comment.fill("half a thought")
    polls: list[str] = []
    page.on("request", lambda request: polls.append(request.url))
    page.clock.fast_forward(60_000)
    expect(comment).to_have_value("half a thought")
    assert not polls

    page.get_by_role("link", name="Compare the analyses side by side").click()
    expect(page.locator(".side-by-side article")).to_have_count(2)
    expect(page.locator(".votes")).to_have_count(2)
