"""The page behind the code on a pack: an honest headline for each case, and nothing more than was checked."""

from __future__ import annotations

import json
import re
from datetime import timedelta

import pytest
import tt_keys
import tt_site
from tt_site import GTIN, LINE_START, Site, pack_urn

from verifier.trust import Trust

PAGE_SIZE_MAX = 30_000
JOURNEY = "1000000042"
QUESTIONS = ["Issued by whom?", "Record intact?", "Safe?", "On sale here?", "Copied?"]


def page(client, serial, gtin=GTIN):
    return client.get(f"/01/{gtin}/21/{serial}")


def headline(response):
    return re.search(r'<h1 id="headline">(.*?)</h1>', response.text)[1].replace("&#39;", "'")


def badge(response):
    return re.search(r'<p class="badge">.*?</svg>\s*(.*?)</p>', response.text, re.DOTALL)[1]


def states(response):
    """The five questions with the word and the tone of each."""
    found = re.findall(
        r'<li class="(\w+)">\s*<div>\s*<h3>(.*?)</h3>\s*<p class="state">.*?</svg>\s*(.*?)</p>',
        response.text,
        re.DOTALL,
    )
    assert [question for _, question, _ in found] == QUESTIONS
    return {question: (tone, word) for tone, question, word in found}


def tone(response):
    return re.search(r'<section class="verdict (\w+)"', response.text)[1]


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path)
    yield site
    site.close()


@pytest.fixture(scope="module")
def anchored(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("anchored"))
    site.append(*tt_site.journey(JOURNEY))
    site.anchor()
    yield site
    site.close()


def test_a_verified_and_anchored_record(anchored):
    response = page(anchored.client, JOURNEY)
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert headline(response) == "This pack’s record checks out"
    assert (tone(response), badge(response)) == ("ok", "Record verified")
    assert "a printed code can be copied" in response.text.lower()
    shown = states(response)
    assert shown["Issued by whom?"] == ("ok", "Signed")
    assert shown["Record intact?"] == ("ok", "Intact")
    # What nobody here knows is not good news, even on the best of pages.
    assert [shown[question][0] for question in QUESTIONS[2:]] == ["none", "none", "none"]
    assert "Brookhaven Pharma recorded giving this pack its number" in response.text
    assert "Whether it owns the product number is not checked here" in response.text
    for fact in (GTIN, JOURNEY, "L2611A", "31 May 2028", "All 10 entries"):
        assert fact in response.text


def test_the_journey_leads_through_case_and_pallet(anchored):
    text = page(anchored.client, JOURNEY).text
    told = text.partition('<ol class="journey">')[2].partition("</ol>")[0]
    steps = re.findall(r"<h3>(.*?)</h3>\s*<p>(.*?)</p>", told)
    assert [title for title, _ in steps][:4] == [
        "Given its number",
        "Packed into a container",
        "Its container packed into a larger one",
        "Sent on",
    ]
    whos = [who.partition(",")[0] for _, who in steps]
    expected = ["Brookhaven Pharma"] * 4 + ["Nordwind Cold Chain"]
    assert whos == [*expected, *["Havel Distribution"] * 3, *["Linden Pharmacy"] * 2]
    assert text.count("inside container") == 7
    assert len(re.findall(r'<time datetime="20\d\d-', text)) >= 10


def test_the_page_lists_what_its_check_leaves_open(anchored):
    text = page(anchored.client, JOURNEY).text
    left_open = re.findall(r"<li>(.*?)</li>", text.partition("<details>")[2])
    assert len(left_open) >= 4
    assert any("not that it is all" in sentence for sentence in left_open)
    assert any("not that it is so" in sentence for sentence in left_open)


def test_the_evidence_link_leads_to_what_the_page_checked(anchored):
    text = page(anchored.client, JOURNEY).text
    link = re.search(r'class="button" href="(.*?)"', text)[1].replace("&amp;", "&")
    response = anchored.client.get(link)
    assert response.status_code == 200
    name = re.search(r'filename="(.*?)"', response.headers["Content-Disposition"])[1]
    assert f"tallystick verify --trust trust {name}" in text


@pytest.mark.parametrize(
    "path",
    [
        f"/01/{GTIN}/10/L2611A/21/{JOURNEY}",
        f"/01/{GTIN}/10/other/21/{JOURNEY}",
        f"/01/{GTIN[1:]}/21/{JOURNEY}",
        f"/01/{GTIN}/22/2A/21/{JOURNEY}",
        f"/01/{GTIN}/22/2A/10/L2611A/21/{JOURNEY}",
    ],
)
def test_other_links_to_the_same_pack_show_the_same_record(anchored, path):
    response = anchored.client.get(path)
    assert response.status_code == 200
    assert headline(response) == "This pack’s record checks out"


def test_a_fresh_record_says_that_the_time_stamp_is_still_to_come(site):
    site.append(*tt_site.journey("1"))
    response = page(site.client, "1")
    assert response.status_code == 200
    assert headline(response) == "Recorded, and still very new"
    assert (tone(response), badge(response)) == ("warn", "Not yet time-stamped")
    assert states(response)["Record intact?"] == ("warn", "Very new")
    assert "Record verified" not in response.text


def test_a_record_in_doubt_after_a_compromise(site):
    site.append(*tt_site.journey("1"))
    site.revoke("acme", invalid_since=tt_keys.START)
    site.anchor()
    response = page(site.client, "1")
    assert headline(response) == "Treat this pack with caution"
    assert tone(response) == "warn"
    shown = states(response)
    assert shown["Issued by whom?"] == ("warn", "In doubt")
    assert shown["Record intact?"] == ("warn", "In doubt")
    assert "checks out" not in response.text


def test_a_compromise_after_the_anchor_takes_nothing_back(site):
    site.append(*tt_site.journey("1"))
    site.anchor()
    site.clock.forward(days=1)
    site.revoke("acme", invalid_since=site.clock() - timedelta(hours=1))
    site.anchor()
    assert headline(page(site.client, "1")) == "This pack’s record checks out"


@pytest.mark.parametrize("column", ["statement", "entry"])
def test_a_record_that_was_altered_does_not_verify(site, column):
    seqs = site.append(*tt_site.journey("1"))
    site.anchor()
    seq = seqs[0]
    if column == "statement":
        event = tt_site.journey("1")[0][1]
        event["ilmd"]["cbvmda:itemExpirationDate"] = "2031-05-31"
        site.tamper("statements", seq, site.sign("acme", event))
    else:
        entry = site.reader.read_entry(seq)
        site.tamper("entries", seq, entry.replace(b'"kind":"event"', b'"kind":"evens"'))
    response = page(site.client, "1")
    assert response.status_code == 200
    assert headline(response) == "Do not rely on this record"
    assert (tone(response), badge(response)) == ("bad", "Record does not verify")
    shown = states(response)
    assert shown["Issued by whom?"] == ("bad", "Not proved")
    assert shown["Record intact?"] == ("bad", "Broken")
    assert all(tone != "ok" for tone, _ in shown.values())
    assert "Do not rely on any of it" in response.text


def test_a_server_that_pins_nothing_says_neither_yes_nor_no(anchored):
    response = page(anchored.served_with(trust=Trust()), JOURNEY)
    assert headline(response) == "This record could not be checked"
    assert tone(response) == "none"
    assert all(tone == "none" for tone, _ in states(response).values())


def test_an_unknown_pack(anchored):
    response = page(anchored.client, "999")
    assert response.status_code == 404
    assert headline(response) == "This ledger has no record of this pack"
    assert tone(response) == "none"
    assert "well-formed" in response.text
    assert GTIN in response.text


@pytest.mark.parametrize(
    ("gtin", "serial", "reason"),
    [
        ("09520123456789", JOURNEY, "last digit does not fit"),
        ("9520123456789", JOURNEY, "last digit does not fit"),
        ("123", "1", "breaks the rules"),
        ("0952012345678x", "1", "breaks the rules"),
        (GTIN, "x" * 21, "breaks the rules"),
        (GTIN, "caf%C3%A9", "breaks the rules"),
        (GTIN, "%20", "breaks the rules"),
    ],
)
def test_a_code_that_cannot_be(anchored, gtin, serial, reason):
    response = page(anchored.client, serial, gtin)
    assert response.status_code == 400
    assert headline(response) == "This code cannot be right"
    assert reason in response.text
    assert "Nothing was looked up" in response.text
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"


def test_a_dispensed_pack_says_so_first(site):
    site.append(*tt_site.journey("1"), tt_site.dispensing("1"))
    site.anchor()
    response = page(site.client, "1")
    assert headline(response) == "Already dispensed"
    assert (tone(response), badge(response)) == ("warn", "Record verified: dispensed")
    assert "19 November 2026 by Linden Pharmacy" in response.text
    shown = states(response)
    assert shown["On sale here?"] == ("warn", "No longer")
    assert shown["Copied?"] == ("warn", "Possible")
    assert shown["Record intact?"] == ("ok", "Intact")


def test_a_fresh_dispensing_is_not_called_verified(site):
    site.append(*tt_site.journey("1"), tt_site.dispensing("1"))
    response = page(site.client, "1")
    assert headline(response) == "Already dispensed"
    assert badge(response) == "Not yet time-stamped: dispensed"


@pytest.mark.parametrize(
    ("step", "disposition", "expected"),
    [
        ("holding", "recalled", "Recorded as recalled"),
        ("destroying", "destroyed", "Recorded as destroyed"),
        ("inspecting", "damaged", "Recorded as damaged"),
        ("decommissioning", "inactive", "Taken out of circulation"),
    ],
)
def test_a_pack_that_must_not_be_used(site, step, disposition, expected):
    event = tt_site.object_event(
        LINE_START + timedelta(days=3), [pack_urn("1")], step, disposition=disposition, place=4
    )
    site.append(*tt_site.journey("1"), ("pharmacy", event))
    site.anchor()
    response = page(site.client, "1")
    assert headline(response) == expected
    assert tone(response) == "bad"
    assert states(response)["Safe?"] == ("bad", "No")
    assert states(response)["On sale here?"][0] == "bad"


def test_an_alarm_stays_though_something_harmless_followed(site):
    when = LINE_START + timedelta(days=3)
    recalled = tt_site.object_event(when, [pack_urn("1")], "holding", disposition="recalled", place=4)
    seen = tt_site.object_event(
        when + timedelta(hours=1), [pack_urn("1")], "storing", disposition="sellable_accessible", place=4
    )
    site.append(*tt_site.journey("1"), ("pharmacy", recalled), ("pharmacy", seen))
    site.anchor()
    assert headline(page(site.client, "1")) == "Recorded as recalled"


def test_a_pack_past_its_date(site):
    site.append(*tt_site.journey("1"))
    site.anchor()
    site.clock.forward(days=700)
    response = page(site.client, "1")
    assert headline(response) == "Past its expiry date"
    assert tone(response) == "bad"
    assert "Its expiry date was 31 May 2028" in response.text


def test_on_its_last_day_a_pack_is_not_past_its_date_anywhere_on_earth(site):
    site.append(*tt_site.journey("1"))
    site.anchor()
    site.clock.now = tt_keys.START.replace(year=2028, month=6, day=1, hour=11, minute=0)
    assert headline(page(site.client, "1")) != "Past its expiry date"
    site.clock.now = tt_keys.START.replace(year=2028, month=6, day=1, hour=12, minute=1)
    assert headline(page(site.client, "1")) == "Past its expiry date"


def test_a_number_given_out_twice_or_seen_after_its_end(site):
    again = tt_site.object_event(
        LINE_START + timedelta(days=1), [pack_urn("1")], "commissioning", action="ADD", place=2
    )
    after = tt_site.object_event(
        LINE_START + timedelta(days=4, hours=5), [pack_urn("2")], "receiving", place=3
    )
    site.append(*tt_site.journey("1"), ("carrier", again))
    site.append(*tt_site.journey("2", boxes=2), tt_site.dispensing("2"), ("distributor", after))
    site.anchor()
    for serial in ("1", "2"):
        response = page(site.client, serial)
        assert headline(response) == "Two packs may carry this number"
        assert states(response)["Copied?"] == ("warn", "Possible")


def test_a_code_without_a_serial_number_names_no_pack(anchored):
    for path in (f"/01/{GTIN}", f"/01/{GTIN}/10/L2611A"):
        response = anchored.client.get(path)
        assert response.status_code == 404
        assert headline(response) == "This code names a product, not one pack"
    assert anchored.client.get("/01/123").status_code == 400


def test_a_record_too_long_for_one_file_is_not_judged(anchored):
    response = page(anchored.served_with(limits=tt_site.Limits(history_items_max=3)), JOURNEY)
    assert headline(response) == "This record is too long to check here"
    assert tone(response) == "none"


def test_a_server_that_cannot_look_says_that_it_means_nothing(anchored):
    class Away:
        def read_head(self):
            return None

    response = page(anchored.served_with(reader=Away()), JOURNEY)
    assert response.status_code == 503
    assert headline(response) == "The record cannot be read just now"


@pytest.mark.parametrize(
    ("gtin", "serial", "location"),
    [
        (GTIN, JOURNEY, f"/01/{GTIN}/21/{JOURNEY}"),
        ("9520123456788", JOURNEY, f"/01/{GTIN}/21/{JOURNEY}"),
        ("(01) 0952 0123 4567 88", f"(21) {JOURNEY}", f"/01/{GTIN}/21/{JOURNEY}"),
        (f"PC: {GTIN}", f"SN: {JOURNEY}", f"/01/{GTIN}/21/{JOURNEY}"),
        (GTIN, "a/b?c", f"/01/{GTIN}/21/a%2Fb%3Fc"),
        (GTIN, "%2F", f"/01/{GTIN}/21/%252F"),
    ],
)
def test_the_form_leads_to_the_packs_own_address(anchored, gtin, serial, location):
    response = anchored.client.get("/find", query_string={"gtin": gtin, "serial": serial})
    assert response.status_code == 303
    assert response.headers["Location"] == location


@pytest.mark.parametrize(
    "query", ["", "?gtin=1", "?gtin=x&serial=y", f"?gtin={GTIN}&serial=", "?gtin=//evil.example&serial=1"]
)
def test_the_form_answers_nonsense_with_a_page(anchored, query):
    response = anchored.client.get(f"/find{query}")
    assert response.status_code == 400
    assert headline(response) == "This code cannot be right"


@pytest.mark.parametrize("serial", ["<script>alert(1)</script>"[:20], '"><img src=x>', "a&b", "'--"])
def test_what_a_code_says_never_becomes_markup(site, serial):
    urn = pack_urn(serial.replace("&", "%26").replace('"', "%22").replace("<", "%3C").replace(">", "%3E"))
    event = tt_site.object_event(
        LINE_START,
        [urn],
        "commissioning",
        action="ADD",
        ilmd={
            "cbvmda:lotNumber": '<b onclick="x">L',
            "cbvmda:descriptionShort": "</style><script>x</script>",
        },
    )
    site.intake.submit([site.sign("acme", event)], allowed_typs={"epcis-event+jws"})
    for text in (
        site.client.get(f"/01/{GTIN}/21/{serial}").text,
        site.client.get("/find", query_string={"gtin": serial, "serial": serial}).text,
    ):
        body = text.partition("</style>")[2]
        assert "<script" not in body
        assert "<img" not in body
        assert "<b " not in body


def test_pages_are_small_whatever_partners_write(site):
    events = [
        (
            "acme",
            tt_site.object_event(
                LINE_START + timedelta(minutes=n),
                [pack_urn("1")],
                "https://brookhaven.example/steps/" + "very_long_step_name_" * 5,
                place=n,
            ),
        )
        for n in range(60)
    ]
    site.append(*tt_site.journey("1"), *events)
    site.anchor()
    response = page(site.client, "1")
    assert len(response.data) < PAGE_SIZE_MAX
    assert "46 more steps are in the evidence file" in response.text


def test_a_run_of_like_events_is_one_line_and_still_counts_each(site):
    readings = [
        ("acme", tt_site.object_event(LINE_START + timedelta(hours=n), [pack_urn("77")], "sensor_reporting"))
        for n in range(5)
    ]
    site.append(*tt_site.journey("77"), *readings)
    site.anchor()
    text = page(site.client, "77").text
    assert "Measured on the way, 5 times" in text
    entries = json.loads(site.client.get(f"/evidence?epc={pack_urn('77')}").data)["entries"]
    events = sum(entry["entry"]["kind"] == "event" for entry in entries)
    assert f"All {events} entries shown here verify" in text


def test_every_page_is_whole_in_one_request_under_30_kb(anchored):
    for path in ("/", f"/01/{GTIN}/21/{JOURNEY}", f"/01/{GTIN}/21/999", "/find", f"/01/{GTIN}"):
        response = anchored.client.get(path)
        assert len(response.data) < PAGE_SIZE_MAX
        assert not re.search(
            r'<(script|img|iframe|object|embed)|\sstyle="|\son\w+=|@import|url\(', response.text
        )
        assert not re.search(r'(src|href|action)="(https?:)?//', response.text)
        assert response.text.count("<style>") == 1
        assert response.headers["Cache-Control"] == "no-store"


def test_no_page_ever_says_genuine(anchored):
    for path in ("/", f"/01/{GTIN}/21/{JOURNEY}", f"/01/{GTIN}/21/999"):
        text = anchored.client.get(path).text.lower()
        for word in ("genuine", "authentic", "original", "guarantee", "100 %", "100%"):
            assert word not in text.partition("</style>")[2]
