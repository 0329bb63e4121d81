"""The description's page in a real browser: readable on phone and desktop, light and dark."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import pytest
import tt_browser
from tt_served import Served

pytestmark = pytest.mark.browser

PAGE = "/docs/api"
SMALL, PHONE, DESKTOP = (320, 568), (390, 844), (1280, 900)
OPEN_ALL = "document.querySelectorAll('details').forEach((one) => { one.open = true })"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    served = Served(tmp_path_factory.mktemp("reference"))
    with tt_browser.served(served.app) as address:
        yield address
    served.close()


@pytest.fixture(scope="module")
def browser():
    with tt_browser.chromium() as browser:
        yield browser


@pytest.fixture
def open_page(browser, address):
    contexts = []

    def open_(size=PHONE, scheme="light", at="", **options):
        context = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, **options
        )
        contexts.append(context)
        page = context.new_page()
        page.goto(address + PAGE + at)
        return page

    yield open_
    for context in contexts:
        context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_enough_contrast(open_page, scheme):
    page = open_page(DESKTOP, scheme)
    page.evaluate(OPEN_ALL)
    found = page.evaluate(tt_browser.CONTRASTS)
    assert len(found) > 500
    assert [(text, round(ratio, 2)) for text, ratio in found if ratio < 4.5] == []


@pytest.mark.parametrize("size", [SMALL, PHONE, DESKTOP])
def test_nothing_sticks_out_sideways(open_page, size):
    page = open_page(size)
    page.evaluate(OPEN_ALL)
    width, visible = page.evaluate(
        "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    assert width == visible


def test_it_asks_for_nothing_but_itself(open_page, address):
    page = open_page()
    asked, complaints = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(address + PAGE)
    page.wait_for_load_state("networkidle")
    assert set(asked) <= {address + PAGE, address + "/icon.svg"}
    assert complaints == []


def test_an_address_opens_its_operation(open_page):
    page = open_page(DESKTOP, at="#submitStatements", java_script_enabled=False)
    assert page.locator("#submitStatements table").first.is_visible()
    assert not page.locator("#submitKeyStatement table").first.is_visible()


def test_contents_lead_to_every_group(open_page):
    for size in (PHONE, DESKTOP):
        page = open_page(size)
        for link in page.locator("nav > ol > li > a").all():
            assert link.is_visible()
            assert page.locator(link.get_attribute("href")).count() == 1
    assert page.locator("nav ol ol a").first.is_visible()


def test_headings_lead_through_the_page(open_page):
    page = open_page()
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3')].map((h) => Number(h.tagName[1]))")
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_fingers_can_hit_what_they_aim_at(open_page):
    page = open_page(PHONE)
    for target in page.locator("summary, nav > ol > li > a").all():
        assert target.bounding_box()["height"] >= 44


def test_screenshots_of_the_description_for_people(open_page):
    """Kept where SCREENSHOTS says; nobody looks at them here."""
    folder = os.environ.get("SCREENSHOTS")
    if folder is None:
        assert open_page().screenshot()
        return
    for label, size in (("phone", PHONE), ("desktop", DESKTOP)):
        for scheme in ("light", "dark"):
            for name, at in (("top", ""), ("operation", "#submitStatements"), ("values", "#schema-Problem")):
                page = open_page(size, scheme, at)
                page.screenshot(path=Path(folder) / f"reference-{name}-{label}-{scheme}.png")
