"""The consumer's page in a real browser: readable, reachable, whole without scripts, on phone and desktop."""

from __future__ import annotations

import json
import os
from itertools import pairwise
from pathlib import Path

import pytest
import tt_browser
import tt_site
from tt_site import GTIN, Site

from verifier import evidence
from verifier.verdict import Verdict

pytestmark = pytest.mark.browser

JOURNEY = f"/01/{GTIN}/21/1000000042"
DISPENSED = f"/01/{GTIN}/21/2"
RECALLED = f"/01/{GTIN}/21/3"
FRESH = f"/01/{GTIN}/21/4"
UNKNOWN = f"/01/{GTIN}/21/999"
MALFORMED = "/01/09520123456789/21/1"
PAGES = {
    "ok": JOURNEY,
    "dispensed": DISPENSED,
    "recalled": RECALLED,
    "fresh": FRESH,
    "unknown": UNKNOWN,
    "malformed": MALFORMED,
    "landing": "/",
}
PHONE, SMALL, DESKTOP = (390, 844), (320, 568), (1280, 900)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("browser"))
    recalled = tt_site.object_event(
        tt_site.LINE_START, [tt_site.pack_urn("3")], "holding", disposition="recalled", place=4
    )
    site.append(
        *tt_site.journey("1000000042"),
        *tt_site.journey("2", boxes=2),
        tt_site.dispensing("2"),
        ("pharmacy", recalled),
    )
    site.anchor()
    site.append(*tt_site.journey("4", boxes=3))
    yield site
    site.close()


@pytest.fixture(scope="module")
def address(site):
    with tt_browser.served(site.app) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    with tt_browser.chromium() as browser:
        yield browser


@pytest.fixture
def open_page(browser, address):
    """Open a path in a fresh browser context."""
    contexts = []

    def open_(path, size=PHONE, scheme="light", **options):
        width, height = size
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, **options
        )
        contexts.append(context)
        page = context.new_page()
        page.goto(address + path)
        return page

    yield open_
    for context in contexts:
        context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_enough_contrast(open_page, address, scheme):
    page = open_page("/", DESKTOP, scheme)
    for path in PAGES.values():
        page.goto(address + path)
        found = page.evaluate(tt_browser.CONTRASTS)
        assert len(found) > 8
        weak = [(path, text, round(ratio, 2)) for text, ratio in found if ratio < 4.5]
        assert weak == []


@pytest.mark.parametrize("size", [SMALL, PHONE, DESKTOP])
def test_nothing_sticks_out_sideways(open_page, address, size):
    page = open_page("/", size)
    for path in PAGES.values():
        page.goto(address + path)
        width, visible = page.evaluate(
            "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        )
        assert (path, width) == (path, visible)


def test_the_verdict_is_read_without_scrolling_on_a_phone(open_page, address):
    page = open_page("/")
    for path in PAGES.values():
        page.goto(address + path)
        box = page.locator("h1").bounding_box()
        assert box is not None
        assert box["y"] + box["height"] < PHONE[1] * 0.6


def test_a_page_asks_for_nothing_but_itself(open_page, address):
    page = open_page("/")
    asked, complaints = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    for path in PAGES.values():
        page.goto(address + path)
    assert set(asked) <= {*(address + path for path in PAGES.values()), address + "/icon.svg"}
    # Chromium itself remarks on a status of 400 or 404; our policy must give it nothing to remark on.
    assert [text for text in complaints if "Failed to load resource" not in text] == []
    assert page.context.cookies() == []


@pytest.mark.parametrize("name", ["ok", "unknown", "landing"])
def test_landmarks_and_headings_lead_through_the_page(open_page, name):
    page = open_page(PAGES[name])
    assert page.locator("html").get_attribute("lang") == "en"
    for landmark in ("header", "main", "footer", "h1"):
        assert page.locator(landmark).count() == 1
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3')].map((h) => Number(h.tagName[1]))")
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    for section in page.locator("section").all():
        assert page.locator(f"#{section.get_attribute('aria-labelledby')}").count() == 1
    assert page.title().endswith("– Tallystick")
    identifiers = page.evaluate("[...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(identifiers) == len(set(identifiers))


def test_each_question_says_in_words_what_its_colour_says(open_page):
    page = open_page(JOURNEY)
    assert page.locator(".checks .state").all_inner_texts() == [
        "Signed",
        "Intact",
        "Not known",
        "Not known",
        "Cannot be told",
    ]
    for sign in page.locator(".state svg, .badge svg").all():
        assert sign.get_attribute("aria-hidden") == "true"


def test_the_keyboard_reaches_everything_and_sees_where_it_is(open_page):
    page = open_page(JOURNEY)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.locator(".skip").bounding_box()["x"] >= 0
    page.keyboard.press("Enter")
    reached = []
    for _ in range(4):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.textContent.trim()"))
    assert "Download evidence" in reached
    page = open_page("/")
    page.locator("input[name=gtin]").focus()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


@pytest.mark.parametrize("name", ["ok", "landing"])
def test_fingers_can_hit_what_they_aim_at(open_page, name):
    page = open_page(PAGES[name])
    for target in page.locator("main a, button, input, summary").all():
        assert target.bounding_box()["height"] >= 44


def test_the_form_works_without_scripts(open_page):
    page = open_page("/", java_script_enabled=False)
    page.get_by_label("Product number").fill(f"(01) {GTIN}")
    page.get_by_label("Serial number").fill("1000000042")
    page.get_by_role("button", name="Look it up").click()
    assert page.url.endswith(JOURNEY)
    assert page.get_by_role("heading", level=1).inner_text() == "This pack’s record checks out"


def test_a_typing_mistake_keeps_what_was_typed(open_page):
    page = open_page("/", java_script_enabled=False)
    page.get_by_label("Product number").fill("09520123456789")
    page.get_by_label("Serial number").fill("1000000042")
    page.get_by_role("button", name="Look it up").click()
    assert page.get_by_role("heading", level=1).inner_text() == "This code cannot be right"
    assert page.get_by_label("Product number").input_value() == "09520123456789"
    assert page.get_by_label("Serial number").input_value() == "1000000042"


def test_the_downloaded_evidence_verifies_without_the_server(open_page, site, tmp_path):
    page = open_page(JOURNEY, java_script_enabled=False)
    with page.expect_download() as started:
        page.get_by_role("link", name="Download evidence").click()
    file = tmp_path / started.value.suggested_filename
    started.value.save_as(file)
    assert file.name in page.locator("pre").inner_text().replace("\n", "")
    report = evidence.verify(file.read_bytes(), site.trust)
    assert report.verdict is Verdict.VALID, json.dumps(report.to_json())


def test_it_prints_on_paper_with_the_verdict_and_every_step(open_page):
    page = open_page(JOURNEY)
    page.emulate_media(media="print")
    assert page.locator("h1").is_visible()
    assert page.locator(".journey li").count() == 10
    assert not page.locator(".button").is_visible()
    assert len(page.pdf(format="A4")) > 10_000


def test_screenshots_for_people(open_page):
    """Kept where SCREENSHOTS says; nobody looks at them here."""
    folder = os.environ.get("SCREENSHOTS")
    if folder is None:
        assert open_page(JOURNEY).screenshot()
        return
    for name, path in PAGES.items():
        for label, size in (("phone", PHONE), ("desktop", DESKTOP)):
            for scheme in ("light", "dark"):
                page = open_page(path, size, scheme)
                page.screenshot(path=Path(folder) / f"{name}-{label}-{scheme}.png", full_page=True)
