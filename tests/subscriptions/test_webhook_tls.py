"""Over TLS the certificate must be the name's, though the connection is made to an address."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tt_receivers import LOOPBACK

from subscriptions.webhook import Answer, DeliveryFailed, Sender, Timeouts

NOW = datetime.now(UTC)


def certificate(folder: Path, name: str) -> Path:
    """A self-signed certificate of a host, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / f"{name}.pem"
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return file


@pytest.mark.parametrize(
    ("of", "believed", "is_taken"),
    [
        ("hook.example", True, True),
        ("other.example", True, False),  # a real certificate, of somebody else
        ("hook.example", False, False),
        ("127.0.0.1.example", True, False),
    ],
)
def test_the_certificate_must_be_the_names(tmp_path: Path, of: str, believed: bool, is_taken: bool) -> None:
    file = certificate(tmp_path, of)
    server_tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_tls.load_cert_chain(file)
    asked_for: list[str | None] = []
    server_tls.sni_callback = lambda _, name, __: asked_for.append(name)
    client_tls = ssl.create_default_context()
    if believed:
        client_tls.load_verify_locations(file)
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await writer.drain()
        writer.close()

    async def resolve(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    async def talk() -> Answer:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_tls)
        try:
            port = server.sockets[0].getsockname()[1]
            sender = Sender(LOOPBACK, resolve, Timeouts(5, 5, 10), client_tls)
            return await sender.post(f"https://hook.example:{port}/x?y=1", b"{}", {"A": "b"})
        finally:
            server.close()

    if is_taken:
        assert asyncio.run(talk()) == Answer(204)
        (head,) = heads
        assert head.startswith(b"POST /x?y=1 HTTP/1.1\r\n")
        assert b"\r\nHost: hook.example:" in head
    else:
        with pytest.raises(DeliveryFailed):
            asyncio.run(talk())
        assert heads == []
    assert asked_for == ["hook.example"]


def test_a_literal_ipv6_address_is_connected_to() -> None:
    from subscriptions.targets import TargetRules

    async def talk() -> Answer:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            writer.close()

        async def resolve(host: str, port: int) -> list[str]:
            raise AssertionError("there is no name to ask for")

        try:
            server = await asyncio.start_server(serve, "::1", 0)
        except OSError:
            pytest.skip("no IPv6 loopback here")
        try:
            port = server.sockets[0].getsockname()[1]
            sender = Sender(TargetRules.of(["::1/128"]), resolve, Timeouts(5, 5, 10))
            return await sender.post(f"http://[::1]:{port}/", b"{}", {})
        finally:
            server.close()

    assert asyncio.run(talk()) == Answer(200)
