"""This server sends to public addresses, however a private one is spelled, and whatever its name is."""

from __future__ import annotations

import socket

import pytest

from subscriptions.errors import TargetRefused
from subscriptions.targets import TargetRules, is_public, parse_target

RULES = TargetRules()
LOOPBACK = TargetRules.of(["127.0.0.0/8", "::1/128"])

# Every one is 127.0.0.1, or the cloud's metadata, to some resolver, library or network.
FORGED_HOSTS = [
    "127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "0X7F.0.0.1", "017700000001",
    "0177.0.0.1", "127.0.0.01", "0", "0.0.0.0", "000.0.0.0", "127.255.255.254", "127.0.0.0x1",
    "[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]",
    "[::ffff:0:127.0.0.1]", "[64:ff9b::127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]", "[2001::1]", "[fe80::1]", "[fe80::1%25eth0]", "[fe80::1%eth0]", "[fc00::1]",
    "[fd00:ec2::254]", "[ff02::1]", "[2001:db8::1]", "[3fff::1]", "[fec0::1]", "[100::1]", "[5f00::1]",
    "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.0.1", "169.254.169.254", "100.64.0.1",
    "100.100.100.200", "192.0.0.192", "198.18.0.1", "224.0.0.1", "239.255.255.250", "240.0.0.1",
    "255.255.255.255", "192.0.2.1", "198.51.100.1", "203.0.113.1", "192.88.99.1", "168.63.129.16",
    "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518",
]  # fmt: skip


@pytest.mark.parametrize("host", FORGED_HOSTS)
def test_no_spelling_of_a_private_address_is_taken(host: str) -> None:
    with pytest.raises(TargetRefused):
        RULES.parse(f"https://{host}/hook")
    with pytest.raises(TargetRefused):
        RULES.parse(f"https://{host}:8443/hook")


@pytest.mark.parametrize("host", FORGED_HOSTS)
def test_what_a_resolver_makes_of_it_is_not_connected_to(host: str) -> None:
    """Were one of them taken for a name, its addresses would still be judged."""
    try:
        found = socket.getaddrinfo(
            host.strip("[]"), 443, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
        )
    except (OSError, UnicodeError):
        return
    with pytest.raises(TargetRefused):
        RULES.verify(parse_target("https://name.example/"), [str(one[4][0]) for one in found])


@pytest.mark.parametrize(
    "url",
    [
        "", "partner.example", "//partner.example/x", "ftp://partner.example/", "file:///etc/passwd",
        "gopher://partner.example/", "javascript:alert(1)", "http://partner.example/", "HTTP://partner.example/",
        "https://", "https:///x", "https://:443/", "https://partner.example:80/", "https://partner.example:22/",
        "https://partner.example:0/", "https://partner.example:/", "https://partner.example:65536/",
        "https://partner.example:x/", "https://partner.example:443:443/", "https://me@partner.example/",
        "https://me:pw@partner.example/", "https://@partner.example/", "https://partner.example@127.0.0.1/",
        "https://127.0.0.1#@partner.example/", "https://partner.example/#x", "https://partner.example/#",
        "https://partner.example\\@127.0.0.1/", "https:\\\\partner.example/", "https://partner.example/a b",
        "https://partner.example/\r\nX: y", "https://partner.example/\t", "https://pärtner.example/",
        "https://partner。example/", "https://①②⑦.⓪.⓪.①/", "https://partner..example/", "https://.example/",
        "https://partner.example./", "https://-partner.example/", "https://par%74ner.example/",
        "https://[partner.example]/", "https://[::1", "https://[2001:4860::8888]x/", "https://localhost./",
        "https://partner.example/" + "x" * 2048, "https://" + "a." * 130 + "example/",
        "https://" + "a" * 64 + ".com/", "https://0127.0.0.1/",
        "https://[v1.x]/", "https://partner.example/\x00", "https://partner.example/\x7f",
    ],
)  # fmt: skip
def test_what_readers_could_read_differently_is_refused(url: str) -> None:
    with pytest.raises(TargetRefused):
        RULES.parse(url)


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("https://partner.example/hook?key=1", "partner.example", 443),
        ("https://partner.example", "partner.example", 443),
        ("https://Partner.Example:8443/", "partner.example", 8443),
        ("https://xn--prtner-bua.example/", "xn--prtner-bua.example", 443),
        ("https://8.8.8.8/", "8.8.8.8", 443),
        ("https://[2001:4860:4860::8888]:443/", "2001:4860:4860::8888", 443),
        ("https://partner_1.example/", "partner_1.example", 443),
    ],
)
def test_what_is_public_is_taken(url: str, host: str, port: int) -> None:
    target = RULES.parse(url)
    assert (target.host, target.port, target.url) == (host, port, url)
    assert "key" not in target.origin


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], ["8.8.8.8", "10.0.0.1"], ["::1"], ["::ffff:8.8.8.8"], ["fe80::1%2"], [], ["nonsense"]],
)
def test_a_name_is_judged_by_all_its_addresses(addresses: list[str]) -> None:
    with pytest.raises(TargetRefused):
        RULES.verify(RULES.parse("https://partner.example/"), addresses)


def test_public_addresses_of_a_name_are_connected_to() -> None:
    found = RULES.verify(RULES.parse("https://partner.example/"), ["8.8.8.8", "2001:4860:4860::8888"])
    assert [str(one) for one in found] == ["8.8.8.8", "2001:4860:4860::8888"]


def test_what_is_opened_is_open_and_nothing_else() -> None:
    assert LOOPBACK.parse("http://127.0.0.1:9999/x").port == 9999
    target = LOOPBACK.parse("http://hook.example:9999/x")
    assert [str(one) for one in LOOPBACK.verify(target, ["127.0.0.2"])] == ["127.0.0.2"]
    for addresses in (["10.0.0.1"], ["8.8.8.8"], ["127.0.0.1", "8.8.8.8"]):  # public ones: by https, as ever
        with pytest.raises(TargetRefused):
            LOOPBACK.verify(target, addresses)
    for url in (
        "http://10.0.0.1/",
        "https://169.254.169.254/",
        "http://2130706433/",
        "http://[::ffff:7f00:1]/",
    ):
        with pytest.raises(TargetRefused):
            LOOPBACK.parse(url)


def test_every_address_is_public_or_not_as_python_knows_it_or_stricter() -> None:
    from ipaddress import ip_address

    for number in range(0, 2**32, 2**32 // 4099):
        address = ip_address(number)
        assert not is_public(address) or (address.is_global and not address.is_multicast)
    for number in range(0, 2**128, 2**128 // 4099):
        address = ip_address(number)
        assert not is_public(address) or (address.is_global and not address.is_multicast)
