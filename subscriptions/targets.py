"""Step 8 of 9: where subscriptions may be sent. A subscriber names an address; it must not be one of ours.

Whoever may subscribe could otherwise have this server POST to whatever it can reach: its own loopback, the
private network, a cloud's metadata (server-side request forgery). A URL is judged twice: as text when the
subscription is made, and by the addresses that its name has when each connection is made, after which the
connection goes to that very address and no name is looked up again.

    https only, port 443 or 8443, every address of the name public
    allow_private = ["10.20.0.0/16"]    lets these addresses be sent to, by http as well, on any port
"""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias
from urllib.parse import urlsplit

from subscriptions.errors import TargetRefused

URL_LENGTH_MAX = 2048
PORTS = frozenset((443, 8443))
ADDRESSES_MAX = 32  # of one name

Address: TypeAlias = "IPv4Address | IPv6Address"
Network: TypeAlias = "IPv4Network | IPv6Network"

# Everything that IANA's registries set aside, and what stands for a machine of the cloud one is in.
_RESERVED_4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
        "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24",
        "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
        "224.0.0.0/4", "240.0.0.0/4",
        "168.63.129.16/32",  # Azure's own services, at an address that is public elsewhere
    )
)  # fmt: skip
# Of IPv6 only what is given out for use: mapped, compatible, NAT64, local and multicast ones lie outside.
_GIVEN_OUT_6 = IPv6Network("2000::/3")
_RESERVED_6 = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # Teredo, ORCHID, benchmarks
        "2001:db8::/32",
        "2002::/16",  # 6to4: any IPv4 address in disguise
        "2620:4f:8000::/48",
        "3fff::/20",
    )
)
_URL = re.compile(r"[!-\[\]-~]+")  # printable ASCII but the backslash, which some readers take for a slash
_NETLOC = re.compile(r"(?:\[[^\[\]]+\]|[^\[\]:]+)(?::[0-9]{1,5})?")
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_NUMERIC = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")


@dataclass(frozen=True, slots=True)
class Target:
    """A URL taken apart."""

    url: str
    scheme: str
    host: str  # a name, or an address without brackets
    port: int

    @property
    def origin(self) -> str:
        """What messages may show: paths and queries can hold secrets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class TargetRules:
    """What this server's operator opens."""

    allow_private: tuple[Network, ...] = ()

    @classmethod
    def of(cls, networks: Sequence[str]) -> TargetRules:
        """Raises ValueError for what is no network."""
        return cls(tuple(ip_network(text) for text in networks))

    def parse(self, url: str) -> Target:
        """Judge a URL as text. Raises TargetRefused; nothing is looked up."""
        target = parse_target(url)
        try:
            address = ip_address(target.host)
        except ValueError:
            if not self.allow_private:  # else only the address can tell
                _require_public_form(target)
        else:
            self.verify(target, [str(address)])
        return target

    def verify(self, target: Target, addresses: Sequence[str]) -> tuple[Address, ...]:
        """The addresses to connect to. Raises TargetRefused if any one of them is not to be.

        addresses  all that the target's name has just now, as text
        """
        if not addresses:
            raise TargetRefused("target.unknown", f"{target.host} has no address")
        found = []
        for text in addresses[:ADDRESSES_MAX]:
            try:
                address = ip_address(text)
            except ValueError as error:
                raise TargetRefused("target.address", f"{text[:64]!r} is no address") from error
            if not self._is_allowed(address):
                if not is_public(address):
                    raise TargetRefused(
                        "target.private",
                        f"{target.host} is at an address that is not public; this server sends to none such",
                    )
                _require_public_form(target)
            found.append(address)
        return tuple(found)

    def _is_allowed(self, address: Address) -> bool:
        return any(address in network for network in self.allow_private)


def parse_target(url: str) -> Target:
    """Take a URL apart. What two readers could read differently is refused with TargetRefused."""
    if not 0 < len(url) <= URL_LENGTH_MAX:
        raise TargetRefused("target.length", f"{len(url)} characters; 1 to {URL_LENGTH_MAX} are wanted")
    if not _URL.fullmatch(url):
        raise TargetRefused("target.characters", "a URL is printable ASCII without spaces and backslashes")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise TargetRefused("target.url", "this is no URL") from error
    if parts.scheme not in ("http", "https"):
        raise TargetRefused("target.scheme", f"an https URL is wanted, not {parts.scheme[:16]!r}")
    if "@" in parts.netloc:
        raise TargetRefused("target.userinfo", "a URL with a user name or a password is not taken")
    if "#" in url:
        raise TargetRefused("target.fragment", "a fragment is never sent: leave it out")
    if port == 0 or parts.netloc.endswith(":"):
        raise TargetRefused("target.port", "the port is missing, or 0")
    if not _NETLOC.fullmatch(parts.netloc):
        raise TargetRefused("target.host", f"{parts.netloc[:80]!r} is no host with a port")
    host = _host(parts.netloc, parts.hostname or "")
    return Target(url, parts.scheme, host, port or (443 if parts.scheme == "https" else 80))


def look_up(host: str, port: int) -> list[str]:
    """The addresses that the system's resolver knows for a name just now; none if there are none."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(str(one[4][0]) for one in found))


def is_public(address: Address) -> bool:
    """Whether anybody on the internet could be at this address."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _RESERVED_4)
    return (
        address in _GIVEN_OUT_6
        and address.scope_id is None
        and not any(address in network for network in _RESERVED_6)
    )


def _host(netloc: str, host: str) -> str:
    if netloc.startswith("["):
        try:
            address = IPv6Address(host)
        except ValueError as error:
            raise TargetRefused("target.host", "this is no IPv6 address") from error
        if address.scope_id is not None:
            raise TargetRefused("target.host", "an address with a zone is not taken")
        return str(address)
    labels = host.split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise TargetRefused("target.host", f"{host[:80]!r} is no host name")
    if _NUMERIC.fullmatch(labels[-1]):
        # 2130706433, 0x7f.1 and 0177.0.0.1 are all 127.0.0.1 to some resolver.
        try:
            return str(IPv4Address(host))
        except ValueError as error:
            raise TargetRefused(
                "target.host", "an IPv4 address is written as four decimal numbers"
            ) from error
    return host


def _require_public_form(target: Target) -> None:
    if target.scheme != "https":
        raise TargetRefused("target.scheme", "an https URL is wanted: events are not sent in the clear")
    if target.port not in PORTS:
        raise TargetRefused(
            "target.port", f"port {target.port} is not sent to; {', '.join(map(str, sorted(PORTS)))} are"
        )
