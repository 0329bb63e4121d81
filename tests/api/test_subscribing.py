"""Subscriptions over HTTP: made, shown without their secret, listed, refused, ended."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import tt_site
from flask.testing import FlaskClient
from tt_site import Site

from api.event_queries import EventQueries
from projection.engine import Engine
from projection.kept import open_kept
from projection.projector import Projector
from projection.resources import Resources
from projection.store import open_reader, open_writer
from subscriptions import store
from subscriptions.store import Subscriptions
from subscriptions.targets import TargetRules

TOKEN = "13df38d8275b13f05704629e5f1cf3d45d6132d5"
DEST = "https://partner.example/hook"
ADDRESSES = {
    "partner.example": ["8.8.8.8"],
    "rebound.example": ["127.0.0.1"],
    "both.example": ["8.8.8.8", "192.168.0.1"],
    "metadata.example": ["169.254.169.254"],
    "mapped.example": ["::ffff:127.0.0.1"],
}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlaskClient]:
    site = Site(tmp_path_factory.mktemp("subscribing"))
    writer, reader = open_writer(site.path), open_reader(site.path)
    Projector(site.services.reader, writer).catch_up()
    engine = Engine(site.services.reader, reader, b"k" * 32, clock=site.clock)
    kept = open_kept(site.path)
    queries = EventQueries(
        engine,
        Resources(engine),
        kept,
        Subscriptions(kept, b"s" * 32),
        TargetRules(),
        lambda host, port: ADDRESSES.get(host, [host] if host[0].isdigit() else []),
    )
    made = site.served_with(queries=queries)
    for name, query in (("made", {"EQ_bizStep": ["shipping"]}), ("last", {"maxEventCount": 5})):
        assert made.post("/queries", json={"name": name, "query": query}).status_code == 201
    yield made
    for one in (kept, reader, writer, site):
        one.close()


def subscribe(client: FlaskClient, status: int = 201, query: str = "made", **body: object) -> dict:
    response = client.post(f"/queries/{query}/subscriptions", json={"dest": DEST, "stream": True, **body})
    assert response.status_code == status, response.data
    answered = json.loads(response.data)
    if status == 201:
        where = f"/queries/{query}/subscriptions/{answered['subscriptionID']}"
        assert response.headers["Location"] == tt_site.BASE_URL + where
    else:
        assert response.headers["Content-Type"] == "application/problem+json"
    assert TOKEN.encode() not in response.data
    return answered


def test_a_subscription_is_made_shown_and_ended(client: FlaskClient) -> None:
    made = subscribe(client, signatureToken=TOKEN)
    path = f"/queries/made/subscriptions/{made['subscriptionID']}"
    shown = client.get(path)
    assert json.loads(shown.data) == made
    assert TOKEN.encode() not in shown.data
    assert made["dest"] == DEST
    assert made["stream"] is True
    assert made["state"] == "active"
    assert made["signatureToken"] == "***"
    assert made["queryName"] == "made"
    assert "lastNotifiedAt" not in made
    assert made["minRecordTime"] == made["initialRecordTime"]
    assert shown.headers["GS1-Query-Min-Record-Time"] == made["minRecordTime"]
    options = client.options(path)
    assert options.headers["GS1-Query-Min-Record-Time"] == made["minRecordTime"]
    assert {"DELETE", "GET", "OPTIONS"} <= set(options.headers["Allow"].split(", "))
    assert options.headers["GS1-EPCIS-Min"] == "2.0.0"
    assert client.delete(path).status_code == 204
    for gone in (client.get(path), client.delete(path), client.options(path)):
        assert gone.status_code == 404
    assert json.loads(client.get(path).data)["type"] == "epcisException:NoSuchResourceException"


def test_a_schedule_is_shown_as_it_was_given(client: FlaskClient) -> None:
    response = client.post(
        "/queries/made/subscriptions",
        json={"dest": DEST, "schedule": {"hour": "1", "minute": 5}, "reportIfEmpty": True},
        headers={"GS1-EPC-Format": "Always_GS1_Digital_Link"},
    )
    made = json.loads(response.data)
    assert made["schedule"] == {"hour": "1", "minute": "5"}
    assert made["nextRunAt"].endswith("T01:05:00.000000Z")
    assert made["reportIfEmpty"] is True
    assert made["epcFormat"] == "Always_GS1_Digital_Link"
    assert "stream" not in made
    client.delete(f"/queries/made/subscriptions/{made['subscriptionID']}")


def test_they_are_listed_page_by_page_and_end_with_their_query(client: FlaskClient) -> None:
    client.post("/queries", json={"name": "listed", "query": {}})
    made = {subscribe(client, query="listed")["subscriptionID"] for _ in range(5)}
    seen: list[str] = []
    path = "/queries/listed/subscriptions?perPage=2"
    while path:
        response = client.get(path)
        seen += [one["subscriptionID"] for one in json.loads(response.data)]
        link = response.headers.get("Link", "").partition(">")[0].removeprefix("<" + tt_site.BASE_URL)
        path = link
    assert seen == sorted(made)
    token = client.get("/queries/listed/subscriptions?perPage=2").headers["Link"].partition("Token=")[2]
    assert client.get(f"/queries?nextPageToken={token.partition('>')[0]}").status_code == 400
    assert client.delete("/queries/listed").status_code == 204
    assert client.get("/queries/listed/subscriptions").status_code == 404
    client.post("/queries", json={"name": "listed", "query": {}})
    assert json.loads(client.get("/queries/listed/subscriptions").data) == []
    assert client.get(f"/queries/listed/subscriptions/{seen[0]}").status_code == 404


def test_one_query_does_not_show_anothers(client: FlaskClient) -> None:
    made = subscribe(client)["subscriptionID"]
    assert client.get(f"/queries/last/subscriptions/{made}").status_code == 404
    assert client.delete(f"/queries/last/subscriptions/{made}").status_code == 404
    assert client.delete(f"/queries/made/subscriptions/{made}").status_code == 204


@pytest.mark.parametrize(
    "dest",
    [
        "http://partner.example/", "https://rebound.example/", "https://both.example/",
        "https://metadata.example/latest/meta-data/", "https://mapped.example/", "https://nobody.example/",
        "https://127.0.0.1/", "https://2130706433/", "https://0177.0.0.1/", "https://0x7f.0.0.1/",
        "https://[::1]/", "https://[::ffff:7f00:1]/", "https://me:pw@partner.example/",
        "https://partner.example:22/", "file:///etc/passwd", "", None, 7,
    ],
)  # fmt: skip
def test_a_destination_that_is_not_public_is_refused(client: FlaskClient, dest: object) -> None:
    problem = subscribe(client, 400, dest=dest)
    assert problem["type"] == "epcisException:SubscriptionControlsException"
    assert problem["pointer"] == "/dest"
    assert json.loads(client.get("/queries/made/subscriptions").data) == []


def test_every_fault_is_told(client: FlaskClient) -> None:
    problem = subscribe(client, 400, schedule={"hour": "25"}, signatureToken="x", foo=1)
    assert problem["type"] == "epcisException:SubscriptionControlsException"
    assert {fault["pointer"] for fault in problem["faults"]} == {
        "/foo",
        "/signatureToken",
        "",
        "/schedule/hour",
    }


def test_what_cannot_be_subscribed_to(client: FlaskClient) -> None:
    assert subscribe(client, 404, "nobody")["type"] == "epcisException:NoSuchNameException"
    assert subscribe(client, 400, "last")["type"] == "epcisException:SubscriptionControlsException"
    for query in ("stream=true", "hour=1&minute=5"):
        refused = client.get(f"/queries/made/events?{query}")
        assert json.loads(refused.data)["type"] == "epcisException:SubscriptionControlsException"
    for content, media_type, status in (
        (b"{}", "text/plain", 415),
        (b'{"dest":"x","dest":"y"}', "application/json", 400),
        (b"[" * 40, "application/json", 400),
        (b'{"dest":"' + b"x" * 20_000 + b'"}', "application/json", 413),
    ):
        response = client.post("/queries/made/subscriptions", data=content, content_type=media_type)
        assert response.status_code == status


def test_there_is_an_end_to_them(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "OF_ONE_QUERY_MAX", 1)
    made = subscribe(client)
    assert subscribe(client, 400)["code"] == "subscription.room"
    client.delete(f"/queries/made/subscriptions/{made['subscriptionID']}")
