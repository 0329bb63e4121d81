"""Asking over HTTP: whatever the other side does ends within the time allowed, as AuthorityFailed."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager

import httpx2
import pytest
from tt_anchor import Clock, MisbehavingAuthority, Mode, identity

from anchoring import devtsa
from anchoring.authority_client import HttpAuthority
from anchoring.errors import AuthorityFailed, TokenMalformed
from anchoring.rfc3161 import RESPONSE_SIZE_MAX, TokenVerifier, build_query

MESSAGE = b"\x07" * 32


@pytest.fixture(scope="module")
def tsa():
    return MisbehavingAuthority(Clock(), identity())


@pytest.fixture(scope="module")
def verifier(tsa):
    return TokenVerifier([tsa.identity.root])


def test_a_time_stamp_comes_over_the_wire(tsa, verifier):
    query = build_query(MESSAGE)
    with devtsa.serve(tsa) as running:
        answer = HttpAuthority("devtsa", running.url, verifier).ask(query.der)
    assert verifier.verify_response(answer, MESSAGE, query.nonce).gen_time == tsa.clock()


def test_a_stopped_authority_is_unreachable(tsa, verifier):
    with devtsa.serve(tsa) as running:
        url = running.url
    with pytest.raises(AuthorityFailed) as caught:
        HttpAuthority("devtsa", url, verifier).ask(b"query")
    assert caught.value.code == "authority.unreachable"


@pytest.mark.parametrize("url", ["http://", "nonsense", "ftp://127.0.0.1/", "http://127.0.0.1:99999/"])
def test_an_impossible_address_is_a_failure_like_any_other(verifier, url):
    with pytest.raises(AuthorityFailed):
        HttpAuthority("devtsa", url, verifier, timeout_s=2).ask(b"query")


def authority(verifier, response) -> HttpAuthority:
    return HttpAuthority("devtsa", "http://tsa.example/", verifier, transport=httpx2.MockTransport(response))


def reply(status=200, media_type="application/timestamp-reply", body=b"0"):
    headers = {} if media_type is None else {"Content-Type": media_type}
    return lambda request: httpx2.Response(status, headers=headers, stream=httpx2.ByteStream(body))


@pytest.mark.parametrize("status", [201, 204, 301, 302, 400, 404, 429, 500, 503])
def test_only_200_is_an_answer(verifier, status):
    with pytest.raises(AuthorityFailed) as caught:
        authority(verifier, reply(status)).ask(b"query")
    assert caught.value.code == "authority.status"


@pytest.mark.parametrize(
    "media_type", [None, "text/html", "application/timestamp-query", "application/octet-stream"]
)
def test_another_media_type_is_no_time_stamp(verifier, media_type):
    with pytest.raises(AuthorityFailed) as caught:
        authority(verifier, reply(media_type=media_type)).ask(b"query")
    assert caught.value.code == "authority.media-type"


@pytest.mark.parametrize(
    "media_type", ["Application/Timestamp-Reply", "application/timestamp-reply; charset=binary"]
)
def test_the_media_type_is_read_as_media_types_are(verifier, media_type):
    assert authority(verifier, reply(media_type=media_type)).ask(b"query") == b"0"


def test_an_oversized_body_is_cut_off(verifier):
    assert authority(verifier, reply(body=bytes(RESPONSE_SIZE_MAX))).ask(b"query")
    with pytest.raises(AuthorityFailed) as caught:
        authority(verifier, reply(body=bytes(RESPONSE_SIZE_MAX + 1))).ask(b"query")
    assert caught.value.code == "authority.size"


def test_the_query_is_sent_as_the_standard_has_it(verifier):
    seen = []

    def respond(request):
        seen.append((request.method, request.headers["Content-Type"], request.read()))
        return reply()(request)

    authority(verifier, respond).ask(b"the query")
    assert seen == [("POST", "application/timestamp-query", b"the query")]


def test_garbage_is_carried_and_told_apart_by_the_check(tsa, verifier):
    query = build_query(MESSAGE)
    tsa.mode = Mode.GARBAGE
    try:
        with devtsa.serve(tsa) as running:
            answer = HttpAuthority("devtsa", running.url, verifier).ask(query.der)
    finally:
        tsa.mode = Mode.HONEST
    with pytest.raises(TokenMalformed):
        verifier.verify_response(answer, MESSAGE, query.nonce)


@contextmanager
def raw_server(talk):
    """A TCP server on loopback that says whatever it likes to one caller."""
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def run():
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(5)
            talk(connection, over)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        over.set()
        thread.join(5)
        listener.close()


def silent(connection, over):
    connection.recv(4096)
    over.wait(5)


def drip_headers(connection, over):
    connection.recv(4096)
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while not over.wait(0.05):
        try:
            connection.sendall(b"a")
        except OSError:
            return


def drip_body(connection, over):
    connection.recv(4096)
    connection.sendall(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/timestamp-reply\r\nContent-Length: 5000\r\n\r\n"
    )
    while not over.wait(0.05):
        try:
            connection.sendall(b"0")
        except OSError:
            return


@pytest.mark.parametrize("talk", [silent, drip_headers, drip_body])
def test_a_slow_authority_costs_no_more_than_its_deadline(verifier, talk):
    """A timeout per read would be renewed by every dripped byte."""
    with raw_server(talk) as url:
        start = time.monotonic()
        with pytest.raises(AuthorityFailed) as caught:
            HttpAuthority("devtsa", url, verifier, timeout_s=0.4).ask(b"query")
        assert caught.value.code == "authority.timeout"
        assert time.monotonic() - start < 3


def hang_up(connection, over):
    connection.recv(4096)


def half_an_answer(connection, over):
    connection.recv(4096)
    connection.sendall(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/timestamp-reply\r\nContent-Length: 5000\r\n\r\n0123"
    )


def no_http(connection, over):
    connection.recv(4096)
    connection.sendall(b"220 mail.example ESMTP\r\n")


@pytest.mark.parametrize("talk", [hang_up, half_an_answer, no_http])
def test_a_broken_exchange_is_unreachable(verifier, talk):
    with raw_server(talk) as url, pytest.raises(AuthorityFailed) as caught:
        HttpAuthority("devtsa", url, verifier, timeout_s=3).ask(b"query")
    assert caught.value.code == "authority.unreachable"


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("POST", {"Content-Type": "text/plain"}, 415),
        ("GET", {}, 200),
        ("PUT", {"Content-Type": "application/timestamp-query"}, 501),
    ],
)
def test_the_development_authority_wants_queries(tsa, method, headers, status):
    with devtsa.serve(tsa) as running, httpx2.Client(trust_env=False) as client:
        assert client.request(method, running.url, headers=headers, content=b"").status_code == status


@pytest.mark.parametrize(("length", "status"), [("", 411), ("-1", 411), ("1_0", 411), ("99999999", 413)])
def test_the_development_authority_wants_an_honest_length(tsa, length, status):
    with devtsa.serve(tsa) as running:
        host, port = running.url.removeprefix("http://").rstrip("/").split(":")
        with socket.create_connection((host, int(port)), timeout=5) as connection:
            connection.sendall(
                b"POST / HTTP/1.0\r\nContent-Type: application/timestamp-query\r\n"
                + (f"Content-Length: {length}\r\n" if length else "").encode()
                + b"\r\n"
            )
            assert connection.recv(100).split()[1] == str(status).encode()
