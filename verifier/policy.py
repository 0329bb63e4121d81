"""Step 9 of 9: whose checkpoints are believed. Before verifier.trust, which reads it from a directory.

A policy names the logs and witnesses whose keys are pinned, and the quorum:
which sets of witnesses are enough. It is the C2SP tlog-policy file, so one
file serves Tallystick's auditors and any other tool that reads the format.
Source: c2sp.org/tlog-policy.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from keys.errors import Fault
from keys.note import NoteVerifier, parse_vkey
from verifier.errors import TrustMalformed

POLICY_SIZE_MAX = 256 * 1024
LOGS_MAX = 64  # the specification asks for at least 32 of each
WITNESSES_MAX = 256
GROUPS_MAX = 256

LOG_KEY_TYPE = 0x01  # Ed25519 signature of a note
WITNESS_KEY_TYPE = 0x04  # Ed25519 cosignature with a time
NO_QUORUM = "none"


@dataclass(frozen=True, slots=True)
class Witness:
    """An independent party that signs each log's newest state it has seen."""

    name: str
    verifier: NoteVerifier


@dataclass(frozen=True, slots=True)
class Group:
    """At least `threshold` of `members` (witnesses or groups defined before) must have signed."""

    name: str
    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """Pinned logs and witnesses, and how many of the witnesses it takes."""

    logs: tuple[NoteVerifier, ...]
    witnesses: tuple[Witness, ...] = ()
    groups: tuple[Group, ...] = ()
    quorum: str = NO_QUORUM

    def log_verifiers(self, origin: str) -> tuple[NoteVerifier, ...]:
        """The pinned keys of the log with this origin; a log's key name is its origin."""
        return tuple(verifier for verifier in self.logs if verifier.name == origin)

    def is_met_by(self, witness_names: Iterable[str]) -> bool:
        """Whether cosignatures of these witnesses (by their names in the policy) make the quorum.

        Each name belongs to one group at most, so this is linear in the file.
        """
        if self.quorum == NO_QUORUM:
            return True
        met = set(witness_names) & {witness.name for witness in self.witnesses}
        for group in self.groups:  # in the order of the file: members come first
            if sum(member in met for member in group.members) >= group.threshold:
                met.add(group.name)
        return self.quorum in met


def parse_policy(data: bytes) -> Policy:
    """Read a tlog-policy file, or say at which line it breaks the format."""
    if len(data) > POLICY_SIZE_MAX:
        raise TrustMalformed("policy.size", f"{len(data)} bytes; a policy has at most {POLICY_SIZE_MAX}")
    reader = _Reader()
    # SPEC tlog-policy: opaque octets, so Latin-1, which gives every octet one character and loses none.
    for number, line in enumerate(data.decode("latin-1").split("\n"), start=1):
        try:
            reader.read(line)
        except Fault as fault:
            raise TrustMalformed(fault.code, f"policy, line {number}: {fault.detail}") from fault
    return reader.finish()


def render_policy(policy: Policy) -> bytes:
    """The policy as a file: logs, witnesses, groups, quorum."""
    lines = [f"log {_octets(verifier.vkey)}" for verifier in policy.logs]
    lines += [f"witness {witness.name} {_octets(witness.verifier.vkey)}" for witness in policy.witnesses]
    lines += [f"group {group.name} {group.threshold} {' '.join(group.members)}" for group in policy.groups]
    lines.append(f"quorum {policy.quorum}")
    return ("\n".join(lines) + "\n").encode("latin-1")


def _octets(text: str) -> str:
    """UTF-8, each octet as one character, as everything read from the file is."""
    return text.encode("utf-8").decode("latin-1")


class _Reader:
    """The policy as read so far: a later line may use only names of earlier ones."""

    def __init__(self) -> None:
        self.logs: list[NoteVerifier] = []
        self.witnesses: list[Witness] = []
        self.groups: list[Group] = []
        self.quorum: str | None = None
        self._log_keys: set[bytes] = set()
        self._witness_keys: set[bytes] = set()
        self._names: set[str] = set()
        self._members: set[str] = set()

    def read(self, line: str) -> None:
        """Take one line."""
        if any((octet < " " and octet != "\t") or octet == "\x7f" for octet in line):
            raise TrustMalformed("policy.control", "a control character that is neither tab nor newline")
        # Only space and tab separate: str.split() alone would also split at octets such as 0x85 and 0xA0.
        words = [word for word in line.replace("\t", " ").split(" ") if word]
        if not words or words[0].startswith("#"):
            return
        match words:
            case ["log", vkey] | ["log", vkey, _]:
                self._read_log(vkey)
            case ["witness", name, vkey] | ["witness", name, vkey, _]:
                self._read_witness(name, vkey)
            case ["group", name, threshold, *members]:
                self._read_group(name, threshold, members)
            case ["quorum", name]:
                self._read_quorum(name)
            case _:
                raise TrustMalformed("policy.line", f"no log, witness, group or quorum line: {line[:60]!r}")

    def finish(self) -> Policy:
        """The whole policy, once the last line is read."""
        if self.quorum is None:
            raise TrustMalformed(
                "policy.quorum", "there is no quorum line; 'quorum none' asks for no witness"
            )
        return Policy(tuple(self.logs), tuple(self.witnesses), tuple(self.groups), self.quorum)

    def _read_log(self, vkey: str) -> None:
        verifier = _parse_key(vkey, LOG_KEY_TYPE, "a log's key")
        if verifier.public_key.raw in self._log_keys:
            raise TrustMalformed("policy.duplicate", "the same log key stands on two lines")
        if len(self.logs) == LOGS_MAX:
            raise TrustMalformed("policy.size", f"more than {LOGS_MAX} logs")
        self._log_keys.add(verifier.public_key.raw)
        self.logs.append(verifier)

    def _read_witness(self, name: str, vkey: str) -> None:
        verifier = _parse_key(vkey, WITNESS_KEY_TYPE, "a witness's key")
        # One key under two names would let one witness count twice.
        if verifier.public_key.raw in self._witness_keys:
            raise TrustMalformed("policy.duplicate", "the same witness key stands on two lines")
        if len(self.witnesses) == WITNESSES_MAX:
            raise TrustMalformed("policy.size", f"more than {WITNESSES_MAX} witnesses")
        self._define(name)
        self._witness_keys.add(verifier.public_key.raw)
        self.witnesses.append(Witness(name, verifier))

    def _read_group(self, name: str, threshold: str, members: list[str]) -> None:
        if not members:
            raise TrustMalformed("policy.group", f"group {name!r} has no members")
        if len(self.groups) == GROUPS_MAX:
            raise TrustMalformed("policy.size", f"more than {GROUPS_MAX} groups")
        for member in members:
            self._require_defined(member)
            # SPEC: each name is a member at most once in the file, so a witness counts in one way only.
            if member in self._members:
                raise TrustMalformed("policy.member", f"{member!r} is listed as a member more than once")
            self._members.add(member)
        self._define(name)
        self.groups.append(Group(name, _parse_threshold(threshold, len(members)), tuple(members)))

    def _read_quorum(self, name: str) -> None:
        if self.quorum is not None:
            raise TrustMalformed("policy.quorum", "more than one quorum line")
        if name != NO_QUORUM:
            self._require_defined(name)
        self.quorum = name

    def _define(self, name: str) -> None:
        if name == NO_QUORUM or name in self._names:
            raise TrustMalformed("policy.name", f"the name {name!r} is already taken")
        self._names.add(name)

    def _require_defined(self, name: str) -> None:
        if name not in self._names:
            raise TrustMalformed("policy.name", f"no earlier line defines a witness or group {name!r}")


def _parse_key(vkey: str, key_type: int, what: str) -> NoteVerifier:
    try:
        text = vkey.encode("latin-1").decode("utf-8")  # key names are UTF-8, unlike the rest of the file
    except UnicodeDecodeError as e:
        raise TrustMalformed("policy.vkey", f"{what} has a name that is not UTF-8") from e
    verifier = parse_vkey(text)
    if verifier.type != key_type:
        raise TrustMalformed(
            "policy.key-type", f"{what} must be of type {key_type:#04x}; this one is {verifier.type:#04x}"
        )
    return verifier


def _parse_threshold(text: str, member_count: int) -> int:
    if text == "any":
        return 1
    if text == "all":
        return member_count
    if not (text.isascii() and text.isdigit() and text[0] != "0" and len(text) <= 4):
        raise TrustMalformed("policy.threshold", f"{text[:20]!r} is not 'all', 'any' or a decimal number")
    threshold = int(text)
    if threshold > member_count:
        raise TrustMalformed(
            "policy.threshold",
            f"{threshold} of {member_count} members can never sign",
        )
    return threshold
