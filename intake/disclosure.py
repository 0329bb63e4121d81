"""Step 6 of 9, on the way out: which statements are shown to whom, and how many of them look together.

The door and the published copy of a ledger show the same bytes, because both ask here.

    <statement>\n      one a line, as it was signed
    \n                 a statement that was erased, or that this reader may not see: it keeps its place
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

from intake import authority
from keys import envelope
from keys.errors import Fault, Malformed, Refuted, Unverifiable
from keys.registry import Registry
from ledger.errors import ProofMalformed
from ledger.tiles import TilePath, parse_path, render_path

BUNDLES = "statements/bundle/"


class FirstStatement(Protocol):
    """Any reader of the ledger."""

    def read_statement(self, seq: int) -> bytes | None: ...


def policy_in_force(registry: Callable[[], Registry], reader: FirstStatement) -> Mapping[str, Any]:
    """The ledger's policy. An altered key statement must not hide the ledger from its auditors."""
    try:
        return registry().policy
    except (Malformed, Refuted, Unverifiable):
        try:
            return Registry.from_genesis(reader.read_statement(0) or b"").policy
        except Fault:
            return {}  # which opens nothing


def shown(
    policy: Mapping[str, Any], statements: Iterable[bytes | None], caller: str | None
) -> Iterator[bytes | None]:
    """The same statements, None for each that is erased or that this caller may not see."""
    for raw in statements:
        yield raw if raw is not None and authority.may_read(policy, caller, typ_of(raw)) else None


def typ_of(raw: bytes) -> str:
    """A statement's class; none if it cannot be read: only a ledger that shows everything shows it then."""
    try:
        return envelope.parse(raw).typ
    except Fault:
        return ""


def line_of(raw: bytes | None) -> bytes:
    """One line, with its end. What holds an end of line itself was altered, and would shift all others."""
    return b"\n" if raw is None or b"\n" in raw else raw + b"\n"


def parse_bundle_name(name: str) -> TilePath:
    """Read what follows BUNDLES in the address of 256 statements. Raises ProofMalformed."""
    try:
        return parse_path(f"entries/{name}")
    except ProofMalformed as fault:
        raise ProofMalformed("bundle.path", "this is not the name of a bundle of statements") from fault


def render_bundle_name(index: int, width: int) -> str:
    """Write what follows BUNDLES: the numbers and widths of bundles of entries."""
    return render_path(TilePath(None, index, width)).removeprefix("entries/")
