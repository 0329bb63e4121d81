"""Step 9 of 9: what the reader of evidence already believes. Before any verification.

Evidence cannot vouch for itself: whoever made it could also make the keys in
it. A trust directory holds, from another source than the evidence, the log's
and the witnesses' keys, the ledger's first entry, and the time-stamp
authorities' root certificates.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from keys.errors import Fault
from keys.note import NoteVerifier, parse_vkey
from verifier.anchors import token_verifier
from verifier.errors import TrustMalformed
from verifier.policy import NO_QUORUM, Group, Policy, Witness, parse_policy, render_policy

POLICY_NAME = "policy"
GENESIS_NAME = "genesis"
ROOTS_NAME = "tsa"

GENESIS_SIZE_MAX = 1024
ROOT_SIZE_MAX = 64 * 1024
ROOTS_MAX = 64

FILE_SIZE_MAX = 1024 * 1024
HASH_LENGTH = 32
_ROOT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Genesis:
    """Which ledger is meant: its name alone could be taken by another one."""

    origin: str
    leaf_hash: bytes  # of entry 0


@dataclass(frozen=True, slots=True)
class Trust:
    """Everything that is pinned. An empty one decides nothing, and every verdict says so."""

    policy: Policy | None = None
    genesis: Genesis | None = None
    roots: tuple[x509.Certificate, ...] = ()

    def log_verifiers(self, origin: str) -> tuple[NoteVerifier, ...]:
        """The pinned keys of the log with this origin; none if nothing is pinned."""
        return self.policy.log_verifiers(origin) if self.policy else ()


def load_trust(directory: Path) -> Trust:
    """Read a trust directory: `policy` must be there, `genesis` and `tsa/*.pem` may be missing.

    What is missing makes verdicts UNKNOWN-KEY, never VALID. Raises TrustMalformed.
    """
    policy_file = directory / POLICY_NAME
    if not policy_file.is_file():
        raise TrustMalformed("trust.policy", f"{directory} is not a trust directory: it has no file 'policy'")
    policy = parse_policy(_read_bounded(policy_file, FILE_SIZE_MAX))
    genesis = None
    if (directory / GENESIS_NAME).is_file():
        genesis = parse_genesis(_read_bounded(directory / GENESIS_NAME, GENESIS_SIZE_MAX))
    roots = _load_roots(directory / ROOTS_NAME)
    try:
        token_verifier(roots)
    except Fault as fault:
        # Whoever pinned a signer's certificate for its root learns it here, not from every verdict after.
        raise TrustMalformed("trust.tsa", fault.detail) from fault
    return Trust(policy, genesis, roots)


def write_trust(
    directory: Path,
    *,
    origin: str,
    genesis_leaf_hash: bytes,
    log_vkeys: Sequence[str],
    tsa_roots: Mapping[str, bytes],
    witnesses: Sequence[Witness] = (),
    groups: Sequence[Group] = (),
    quorum: str = NO_QUORUM,
) -> None:
    """Write a trust directory, and read it back before anyone relies on it.

    tsa_roots  PEM by authority name; files of other authorities stay
    """
    policy = Policy(tuple(map(parse_vkey, log_vkeys)), tuple(witnesses), tuple(groups), quorum)
    (directory / ROOTS_NAME).mkdir(parents=True, exist_ok=True)
    (directory / POLICY_NAME).write_bytes(render_policy(policy))
    (directory / GENESIS_NAME).write_bytes(render_genesis(Genesis(origin, genesis_leaf_hash)))
    for name, pem in tsa_roots.items():
        if not _ROOT_NAME.fullmatch(name):
            raise TrustMalformed("trust.tsa", f"{name!r} cannot be part of a file's name")
        (directory / ROOTS_NAME / f"{name}.pem").write_bytes(pem)
    load_trust(directory)


def public_files(directory: Path) -> dict[str, str]:
    """The files of a trust directory by their names in it: nothing in them is secret."""
    files = [
        directory / POLICY_NAME,
        directory / GENESIS_NAME,
        *sorted((directory / ROOTS_NAME).glob("*.pem")),
    ]
    return {
        str(file.relative_to(directory)): _read_bounded(file, FILE_SIZE_MAX).decode("utf-8", "replace")
        for file in files
        if file.is_file()
    }


def parse_genesis(data: bytes) -> Genesis:
    """Two lines: the ledger's origin, and the leaf hash of its first entry in base64."""
    try:
        origin, leaf_line, rest = data.decode("utf-8").split("\n")
        leaf_hash = base64.b64decode(leaf_line, validate=True)
    except (UnicodeDecodeError, ValueError, binascii.Error) as e:
        raise TrustMalformed(
            "trust.genesis", "genesis is two lines: an origin, and a base64 leaf hash"
        ) from e
    genesis = Genesis(origin, leaf_hash)
    if rest or not origin or len(leaf_hash) != HASH_LENGTH or render_genesis(genesis) != data:
        raise TrustMalformed(
            "trust.genesis",
            "genesis must be exactly an origin line and the base64 line of a 32-byte leaf hash",
        )
    return genesis


def render_genesis(genesis: Genesis) -> bytes:
    """The bytes that parse_genesis reads."""
    return f"{genesis.origin}\n{base64.b64encode(genesis.leaf_hash).decode('ascii')}\n".encode()


def _load_roots(directory: Path) -> tuple[x509.Certificate, ...]:
    if not directory.is_dir():
        return ()
    roots: list[x509.Certificate] = []
    for file in sorted(directory.glob("*.pem")):
        try:
            roots += x509.load_pem_x509_certificates(_read_bounded(file, ROOT_SIZE_MAX))
        except ValueError as e:
            raise TrustMalformed("trust.tsa", f"tsa/{file.name} holds no readable PEM certificate") from e
        if len(roots) > ROOTS_MAX:
            raise TrustMalformed("trust.tsa", f"more than {ROOTS_MAX} root certificates")
    return tuple(roots)


def _read_bounded(file: Path, size_max: int) -> bytes:
    try:
        with file.open("rb") as stream:
            data = stream.read(size_max + 1)
    except OSError as e:
        raise TrustMalformed("trust.unreadable", f"{file.name} cannot be read: {e.strerror}") from e
    if len(data) > size_max:
        raise TrustMalformed("trust.size", f"{file.name} is larger than {size_max} bytes")
    return data
