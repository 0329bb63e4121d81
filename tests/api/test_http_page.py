"""docs/http.md shows what the server does: each example is sent, and each path is on the page."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import tt_site
from tt_site import Site

PAGE = Path(__file__).resolve().parents[2] / "docs" / "http.md"
WRONG = "https://id.gs1.org/01/09520123456789/21/1"
BLOCKS = re.findall(r"```http\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path)
    yield site
    site.close()


def parse(block):
    head, _, body = block.partition("\n\n")
    first, *lines = head.strip().split("\n")
    return first, dict(line.split(": ", 1) for line in lines), body.strip()


def agree(shown, real):
    """Whether an answer is as shown, … standing for anything."""
    if isinstance(shown, dict):
        return (
            isinstance(real, dict)
            and shown.keys() == real.keys()
            and all(agree(shown[k], real[k]) for k in shown)
        )
    if isinstance(shown, list):
        return isinstance(real, list) and len(shown) == len(real) and all(map(agree, shown, real))
    if isinstance(shown, str) and "…" in shown:
        return shown == "…" or str(real).startswith(shown.partition("…")[0])
    return shown == real and type(shown) is type(real)


def test_every_example_is_answered_as_shown(site):
    event = tt_site.journey("1000000042")[0][1]
    wrong = json.loads(json.dumps(event).replace("urn:epc:id:sgtin:9520123.045678.1000000042", WRONG))
    bodies = {
        "{signed event}": site.sign("acme", event),
        "{another ledger's event}": site.sign("acme", event, aud="other.example/ledger"),
        "{event with a wrong check digit}": site.sign("acme", wrong),
    }
    requests, answers = BLOCKS[0::2], BLOCKS[1::2]
    assert len(requests) == len(answers) >= 8
    for request, answer in zip(requests, answers, strict=True):
        first, headers, body = parse(request)
        method, path = first.split(" ")
        data = b"\n".join(bodies[line] for line in body.split("\n")) if body else None
        response = site.client.open(path, method=method, headers=headers, data=data)
        status, shown_headers, shown = parse(answer)
        assert response.status_code == int(status), (first, response.text)
        for name, value in shown_headers.items():
            assert response.headers[name] == value, first
        if shown.startswith("{"):
            assert agree(json.loads(shown), response.json), (first, response.json)
        elif shown:
            assert agree(shown, response.text), first
        site.publish()


def test_every_path_of_the_server_is_on_the_page(site):
    page = PAGE.read_text()
    for rule in site.app.url_map.iter_rules():
        path = re.sub(r"<any\(.*?\):", "<", rule.rule.replace("<path:", "<"))
        assert f" {path}`" in page or f" {path}?" in page, rule.rule
