"""Every error is a problem detail, with the right status, and tells nothing that it should not."""

from __future__ import annotations

import io
import json
import logging

import pytest
import tt_site
from tt_site import Site

from api import problems
from api.errors import LineFault, StatementsRefused
from intake.errors import Busy
from keys.errors import Fault, Malformed, NotYet, Refused, Refuted, Unverifiable
from ledger.errors import ClockBehind, NotInLog, ReadOnly, StoreFailed

SECRET = "correct-horse-battery-staple"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("problems"))
    site.append(("acme", tt_site.object_event(site.clock(), [tt_site.pack_urn("1")], "inspecting")))
    site.publish()
    yield site
    site.close()


def require_problem(response, status, code):
    assert response.status_code == status, response.data
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["Cache-Control"] == "no-store"
    body = json.loads(response.data)
    assert body["status"] == status
    assert body["code"] == code
    assert body["type"] == f"urn:tallystick:problem:{code}"
    assert body["title"]
    assert body["detail"]
    return body


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/nowhere", 404, "http.path"),
        ("/statements/0/", 404, "http.path"),
        ("/tile//0/000", 404, "http.path"),
        ("/checkpoint/", 404, "http.path"),
        ("/static/page.css", 404, "http.path"),
        ("/.git/config", 404, "http.path"),
        ("/statements/x", 400, "http.argument.integer"),
        ("/statements/-1", 400, "http.argument.integer"),
        ("/statements/00", 400, "http.argument.integer"),
        ("/statements/1e3", 400, "http.argument.integer"),
        ("/statements/٣", 400, "http.argument.integer"),
        ("/statements/99999999999999999999", 400, "http.argument.integer"),
        ("/statements/999", 404, "log.position"),
        ("/entries/999", 404, "log.position"),
        ("/receipts/999", 404, "log.position"),
        ("/statements", 400, "http.argument.missing"),
        ("/statements?start=0", 400, "http.argument.missing"),
        ("/statements?start=2&end=1", 400, "http.argument.range"),
        ("/statements?start=0&end=1&reciepts=true", 400, "http.argument.unknown"),
        ("/statements?start=0&start=1&end=2", 400, "http.argument.repeated"),
        ("/proof/inclusion?index=0&size=0", 400, "proof.index"),
        ("/proof/inclusion?index=5&size=5", 400, "proof.index"),
        ("/proof/inclusion?index=0&size=999", 404, "proof.size"),
        ("/proof/inclusion?index=0", 400, "http.argument.missing"),
        ("/proof/inclusion?index=-1&size=3", 400, "http.argument.integer"),
        ("/proof/consistency?old=3&new=2", 400, "proof.sizes"),
        ("/proof/consistency?old=0&new=2", 400, "proof.sizes"),
        ("/proof/consistency?old=0&new=0", 400, "proof.sizes"),
        ("/proof/consistency?old=1&new=999", 404, "proof.size"),
        ("/proof/consistency?old=1&new=", 400, "http.argument.missing"),
        ("/history", 400, "http.argument.missing"),
        ("/history?epc=" + "x" * 600, 400, "http.argument.length"),
        ("/evidence?epc=" + "x" * 4000, 400, "http.argument.length"),
        ("/readyz?for=ever", 400, "http.argument.for"),
    ],
)
def test_reads_that_cannot_be_answered_say_why(site, path, status, code):
    require_problem(site.client.get(path), status, code)


def test_pointer_names_the_argument(site):
    assert site.client.get("/proof/inclusion?index=x&size=3").json["pointer"] == "/index"
    assert site.client.get("/proof/inclusion?index=1&size=").json["pointer"] == "/size"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/statements/0", {"GET", "HEAD", "OPTIONS"}),
        ("PUT", "/statements", {"GET", "HEAD", "OPTIONS", "POST"}),
        ("PATCH", "/checkpoint", {"GET", "HEAD", "OPTIONS"}),
        ("POST", "/tile/0/000", {"GET", "HEAD", "OPTIONS"}),
        ("GET", "/keys", {"OPTIONS", "POST"}),
        ("TRACE", "/checkpoint", {"GET", "HEAD", "OPTIONS"}),
        ("BREW", "/checkpoint", {"GET", "HEAD", "OPTIONS"}),
    ],
)
def test_other_methods_are_405_and_say_which_are_answered(site, method, path, allowed):
    response = site.client.open(path, method=method)
    require_problem(response, 405, "http.method")
    assert set(response.headers["Allow"].split(", ")) == allowed


def test_options_of_nothing_is_a_whole_problem(site):
    response = site.client.options("/nothing")
    assert response.status_code == 404
    assert int(response.headers["Content-Length"]) == len(response.data)
    assert response.json["code"] == "http.path"


def test_options_lists_the_methods_and_has_no_body(site):
    response = site.client.options("/statements")
    assert response.status_code == 200
    assert set(response.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS", "POST"}
    assert response.data == b""
    assert "Content-Type" not in response.headers
    assert site.client.options("/nowhere").status_code == 404


def test_head_of_an_error_has_its_status_and_no_body(site):
    response = site.client.head("/statements/999")
    assert response.status_code == 404
    assert response.data == b""


@pytest.mark.parametrize(
    ("media_type", "taken"),
    [
        ("application/octet-stream", "application/jose, application/vnd.tallystick.jws-lines"),
        ("text/plain", "application/jose, application/vnd.tallystick.jws-lines"),
        ("application/jwt", "application/jose, application/vnd.tallystick.jws-lines"),
        ("multipart/form-data; boundary=x", "application/jose, application/vnd.tallystick.jws-lines"),
        ("application/x-www-form-urlencoded", "application/jose, application/vnd.tallystick.jws-lines"),
        (None, "application/jose, application/vnd.tallystick.jws-lines"),
    ],
)
def test_unknown_media_types_are_415_and_say_which_are_read(site, media_type, taken):
    response = site.client.post("/statements", data=b"x", content_type=media_type)
    code = "statement.unsigned" if media_type == "application/json" else "http.media-type"
    require_problem(response, 415, code)
    assert response.headers["Accept"] == taken


def test_compressed_bodies_are_415(site):
    response = site.client.post(
        "/statements", data=b"x", content_type="application/jose", headers={"Content-Encoding": "gzip"}
    )
    require_problem(response, 415, "http.content-encoding")


def test_a_body_that_announces_too_much_is_413_before_it_is_read(site):
    class Unread(io.RawIOBase):
        def readable(self):
            return True

        def tell(self):
            return 0

        def seek(self, *_):
            return 0

        def readinto(self, _buffer):
            raise AssertionError("the body must not be read")

    for media_type, size in (
        ("application/jose", 1_500_001),
        ("application/vnd.tallystick.jws-lines", 16 * 1024 * 1024 + 1),
    ):
        response = site.client.post(
            "/statements",
            input_stream=Unread(),
            content_type=media_type,
            environ_overrides={"CONTENT_LENGTH": str(size)},
        )
        require_problem(response, 413, "http.body.size")


def test_a_body_without_length_is_411(site):
    """Chunked bodies that break off look whole behind the server, so none is taken."""
    lines = [
        site.sign("acme", tt_site.object_event(site.clock(), [tt_site.pack_urn(str(n))], "inspecting"))
        for n in (80, 81)
    ]
    size = site.log.head.tree_size
    for terminated in (True, False):
        response = site.client.post(
            "/statements",
            input_stream=io.BytesIO(b"\n".join(lines)),
            content_type="application/vnd.tallystick.jws-lines",
            environ_overrides={
                "CONTENT_LENGTH": "",
                "HTTP_TRANSFER_ENCODING": "chunked",
                **({"wsgi.input_terminated": True} if terminated else {}),
            },
        )
        require_problem(response, 411, "http.body.length")
    assert site.log.head.tree_size == size


@pytest.mark.parametrize("terminated", [True, False])
def test_a_torn_body_is_400_and_nothing_of_it_is_used(site, terminated):
    whole = site.sign("acme", tt_site.object_event(site.clock(), [tt_site.pack_urn("torn")], "inspecting"))
    size = site.log.head.tree_size
    for body in (whole[:-1], whole[: len(whole) // 2], b""):
        response = site.client.post(
            "/statements",
            input_stream=io.BytesIO(body),
            content_type="application/jose",
            environ_overrides={
                "CONTENT_LENGTH": str(len(whole)),
                **({"wsgi.input_terminated": True} if terminated else {}),
            },
        )
        require_problem(response, 400, "http.body.truncated")
    assert site.log.head.tree_size == size


def test_a_torn_batch_is_not_taken_for_a_shorter_one(site):
    lines = [
        site.sign("acme", tt_site.object_event(site.clock(), [tt_site.pack_urn(str(n))], "inspecting"))
        for n in (90, 91)
    ]
    size = site.log.head.tree_size
    response = site.client.post(
        "/statements",
        input_stream=io.BytesIO(lines[0] + b"\n"),
        content_type="application/vnd.tallystick.jws-lines",
        environ_overrides={"wsgi.input_terminated": True, "CONTENT_LENGTH": str(len(b"\n".join(lines)))},
    )
    require_problem(response, 400, "http.body.truncated")
    assert site.log.head.tree_size == size


def test_an_empty_body_is_400(site):
    response = site.client.post(
        "/statements", content_type="application/jose", environ_overrides={"CONTENT_LENGTH": "0"}
    )
    require_problem(response, 400, "http.body.empty")


def test_too_many_lines_are_413(site):
    response = site.client.post(
        "/statements", data=b"x\n" * 10_001, content_type="application/vnd.tallystick.jws-lines"
    )
    require_problem(response, 413, "http.body.lines")


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (Malformed("a", "b"), 400),
        (Refuted("a", "b"), 422),
        (Unverifiable("a", "b"), 422),
        (Refused("a", "b"), 422),
        (NotYet("a", "b"), 503),
        (Busy("a", "b"), 503),
        (ClockBehind("a", "b"), 503),
        (StoreFailed("a", "b"), 503),
        (ReadOnly("a", "b"), 503),
        (NotInLog("a", "b"), 404),
        (Fault("a", "b"), 500),
    ],
)
def test_each_cause_has_one_status(fault, status):
    assert problems.status_of(fault) == status


def test_a_batch_is_400_if_a_line_cannot_be_read_and_422_if_all_can():
    readable = LineFault(0, Refuted("signature", "bad"))
    assert problems.status_of(StatementsRefused([readable])) == 422
    assert problems.status_of(StatementsRefused([readable, LineFault(1, Malformed("a", "b"))])) == 400


def test_faults_of_ten_thousand_lines_are_counted_and_not_all_shown():
    faults = [LineFault(n, Malformed("a", "b", f"/{n}")) for n in range(1200)]
    body = problems.body_of(StatementsRefused(faults))
    assert len(body["faults"]) == 1000
    assert body["faults_omitted"] == 200
    assert body["faults"][7] == {"line": 7, "pointer": "/7", "code": "a", "detail": "b"}


def test_busy_says_when_to_come_back(site):
    class AwayIntake:
        def submit(self, lines, **_):
            raise Busy("intake.sequencer-away", "the sequencer is being started again", retry_after_s=3)

    client = site.served_with(intake=AwayIntake())
    response = client.post("/statements", data=b"a.b.c", content_type="application/jose")
    require_problem(response, 503, "intake.sequencer-away")
    assert response.headers["Retry-After"] == "3"


def test_our_own_mistakes_give_a_number_and_nothing_else(site, caplog):
    class BrokenReader:
        def read_head(self):
            raise RuntimeError(f"passphrase={SECRET}")

    client = site.served_with(reader=BrokenReader())
    with caplog.at_level(logging.ERROR, logger="tallystick.api"):
        response = client.get("/checkpoint", headers={"Authorization": f"Bearer {SECRET}"})
    body = require_problem(response, 500, "server.unexpected")
    incident = body["instance"].removeprefix("urn:tallystick:incident:")
    assert len(incident) == 16
    assert incident in caplog.text
    assert "RuntimeError" in caplog.text
    assert SECRET not in response.text
    assert "Traceback" not in response.text


def test_nothing_a_caller_sends_reaches_the_log(site, caplog, capsys):
    with caplog.at_level(logging.DEBUG):
        site.client.post(
            "/statements",
            data=SECRET.encode(),
            content_type="application/jose",
            headers={"Authorization": f"Bearer {SECRET}", "Cookie": f"session={SECRET}"},
        )
        site.client.get(f"/history?epc={SECRET}")
    assert SECRET not in caplog.text
    captured = capsys.readouterr()
    assert SECRET not in captured.out + captured.err


@pytest.mark.parametrize(
    "path", ["/checkpoint", "/nowhere", "/statements/999", "/", "/metrics", "/01/1/21/2"]
)
def test_every_response_carries_the_security_headers(site, path):
    response = site.client.get(path)
    headers = response.headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["Server"] == "tallystick"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert "script-src" not in headers["Content-Security-Policy"]
    assert "Set-Cookie" not in headers
    assert "Access-Control-Allow-Origin" not in headers
    assert "Cache-Control" in headers


def test_transport_security_is_asked_for_where_there_is_any(site):
    assert "Strict-Transport-Security" not in site.client.get("/").headers
    secure = site.served_with(base_url="https://ledger.example")
    assert secure.get("/").headers["Strict-Transport-Security"].startswith("max-age=")


def test_a_forged_host_changes_nothing_in_an_answer(site):
    for path in ("/", "/find?gtin=09520123456788&serial=1", "/nowhere"):
        response = site.client.get(path, headers={"Host": "evil.example", "X-Forwarded-Host": "evil.example"})
        assert b"evil.example" not in response.data
        assert "evil.example" not in str(response.headers)


def test_a_statement_of_two_mebibytes_is_refused_unread(site):
    before = site.client.get("/checkpoint").data
    response = site.client.post("/statements", data=b"a" * (2 * 1024 * 1024), content_type="application/jose")
    assert response.status_code == 413
    assert response.content_type == "application/problem+json"
    assert response.json["code"]
    assert site.client.get("/checkpoint").data == before
