"""Step 3 of 9: keys. Signed notes: a text with signature lines under it, byte for byte as C2SP has them.

    ledger.example/epcis
    3
    ZLJJxOBgbj2XQsSb/VfNHj6xcPXM76JuoEXKGT1kp18=

    — ledger.example/epcis WAx8fb8E9qSlcgI4…

A line's base64 holds the 4-byte key id and the signature. Type 0x01 signs the text; type 0x04, a
cosignature, signs it together with a time: "the largest consistent tree that I saw by then".
A line of an unknown key says nothing; a bad line of a known key spoils the whole note.
Source: c2sp.org/signed-note@v1.0.0, c2sp.org/tlog-cosignature@v1.0.1.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from keys.algorithms import ED25519, SIGNATURE_SIZE, Ed25519PublicKey, PrivateKey
from keys.errors import Malformed, Refused, Refuted, Unverifiable

TYPE_ED25519 = 0x01
TYPE_COSIGNATURE = 0x04
NOTE_SIZE_MAX = 1_000_000
SIGNATURES_MAX = 100  # as golang.org/x/mod; the specification asks for 16
NAME_LENGTH_MAX = 255
TIMESTAMP_MAX = 2**63 - 1

_LINE_START = "\u2014 "
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_COSIGNATURE_SIZE = 8 + SIGNATURE_SIZE


@dataclass(frozen=True, slots=True)
class SignatureLine:
    """One line under the text."""

    name: str
    key_id: bytes  # 4 bytes
    signature: bytes  # of a cosignature: 8 bytes of time, then 64
    timestamp: int | None = None  # Unix seconds; set once a cosignature has verified


@dataclass(frozen=True, slots=True)
class Note:
    """A text and its signature lines, none of them checked."""

    text: str  # ends in a newline
    signatures: tuple[SignatureLine, ...]


@dataclass(frozen=True, slots=True)
class OpenedNote:
    """A text that at least one known key signed."""

    text: str
    verified: tuple[SignatureLine, ...]
    unknown: tuple[SignatureLine, ...]  # lines of keys that nobody asked about: no claim at all


@dataclass(frozen=True, slots=True)
class NoteVerifier:
    """A name and the key it stands for. Its text form is the vkey."""

    name: str
    type: int  # TYPE_ED25519 or TYPE_COSIGNATURE
    public_key: Ed25519PublicKey
    key_id: bytes  # 4 bytes, from all of the above

    @property
    def vkey(self) -> str:
        """ "<name>+<key id in hex>+<base64 of type and key>"."""
        return f"{self.name}+{self.key_id.hex()}+{_base64(bytes([self.type]) + self.public_key.raw)}"

    def verify(self, text: str, line: SignatureLine) -> SignatureLine:
        """The line, with its timestamp if it has one; Refuted "note.signature" if it does not fit."""
        try:
            if self.type == TYPE_ED25519:
                self.public_key.verify(line.signature, text.encode())
                return line
            timestamp = int.from_bytes(line.signature[:8], "big")
            if len(line.signature) == _COSIGNATURE_SIZE and timestamp <= TIMESTAMP_MAX:
                self.public_key.verify(line.signature[8:], _cosigned(text, timestamp))
                return replace(line, timestamp=timestamp)
        except Refuted:
            pass
        raise Refuted(
            "note.signature", f"the line of {self.name} (key id {self.key_id.hex()}) is not its signature"
        )


@dataclass(frozen=True, slots=True)
class NoteSigner:
    """A name with a private key, which repr() does not show."""

    verifier: NoteVerifier
    key: PrivateKey

    @classmethod
    def from_private_key(cls, name: str, key: PrivateKey, type: int = TYPE_ED25519) -> NoteSigner:
        """type  TYPE_ED25519 for a log, TYPE_COSIGNATURE for a witness."""
        if key.public.alg != ED25519 or not isinstance(key.public, Ed25519PublicKey):
            raise Refused("note.key", f"notes are signed by Ed25519 here, and this key is {key.public.alg}")
        return cls(make_verifier(name, key.public, type), key)

    @property
    def name(self) -> str:
        return self.verifier.name

    @property
    def key_id(self) -> bytes:
        return self.verifier.key_id

    @property
    def vkey(self) -> str:
        return self.verifier.vkey

    def sign_line(self, text: str) -> SignatureLine:
        """A type 0x01 signature over this text, its last newline included."""
        if self.verifier.type != TYPE_ED25519:
            raise Refused("note.type", f"{self.name} is a cosigner: it signs with a time, or not at all")
        _require_text(text)
        return SignatureLine(self.name, self.key_id, self.key.sign(text.encode()))

    def sign_cosignature(self, body: str, timestamp: int) -> SignatureLine:
        """A type 0x04 signature over a checkpoint's text and this time (Unix seconds)."""
        if self.verifier.type != TYPE_COSIGNATURE:
            raise Refused("note.type", f"{self.name} is a log's key: it does not cosign")
        if not 0 <= timestamp <= TIMESTAMP_MAX:
            raise Malformed("note.timestamp", f"{timestamp} is not a time in Unix seconds")
        _require_text(body)
        signature = timestamp.to_bytes(8, "big") + self.key.sign(_cosigned(body, timestamp))
        return SignatureLine(self.name, self.key_id, signature, timestamp)


def make_verifier(name: str, key: Ed25519PublicKey, type: int = TYPE_ED25519) -> NoteVerifier:
    """The verifier of this name, type and key; Malformed "note.name" or Unverifiable "note.type"."""
    _require_name(name)
    if type not in (TYPE_ED25519, TYPE_COSIGNATURE):
        raise Unverifiable("note.type", f"a note key of type 0x{type:02x}; 0x01 and 0x04 are known")
    key_id = hashlib.sha256(name.encode() + b"\n" + bytes([type]) + key.raw).digest()[:4]
    return NoteVerifier(name, type, key, key_id)


def parse_vkey(text: str) -> NoteVerifier:
    """The verifier that a vkey describes; parse_vkey(text).vkey == text.

    Raises Malformed "note.vkey", Unverifiable "note.type" for a type unknown here, Refused "key.weak".
    """
    parts = text.split("+", 2)
    if len(parts) != 3 or not re.fullmatch(r"[0-9a-f]{8}", parts[1]):
        raise Malformed("note.vkey", "not a vkey: <name>+<8 hex digits>+<base64> is wanted")
    key = _unbase64(parts[2], "note.vkey")
    if len(key) < 2:
        raise Malformed("note.vkey", "a vkey without a key")
    if key[0] not in (TYPE_ED25519, TYPE_COSIGNATURE):
        raise Unverifiable("note.type", f"a note key of type 0x{key[0]:02x}; 0x01 and 0x04 are known")
    verifier = make_verifier(parts[0], Ed25519PublicKey(key[1:]), key[0])
    if verifier.key_id.hex() != parts[1]:
        raise Malformed("note.vkey", f"the key id {parts[1]} is not the one of this name and key")
    return verifier


def parse(raw: bytes) -> Note:
    """Split a note at its last blank line; render(parse(raw)) == raw. Malformed "note…" otherwise."""
    if len(raw) > NOTE_SIZE_MAX:
        raise Malformed("note.size", f"a note of {len(raw)} bytes; at most {NOTE_SIZE_MAX} are read")
    try:
        whole = raw.decode("utf-8")
    except UnicodeDecodeError as e:
        raise Malformed("note.encoding", f"not UTF-8 at byte {e.start}") from e
    _require_no_control(whole)
    split = whole.rfind("\n\n")
    if split < 0 or not whole.endswith("\n"):
        raise Malformed("note", "wanted is a text, a blank line, and signature lines that end in a newline")
    lines = whole[split + 2 : -1].split("\n")
    if len(lines) > SIGNATURES_MAX:
        raise Malformed("note.size", f"{len(lines)} signature lines; at most {SIGNATURES_MAX} are read")
    return Note(whole[: split + 1], tuple(_parse_line(line) for line in lines))


def render(note: Note) -> bytes:
    """The bytes of a note; parse(render(note)) has its text and lines again."""
    _require_text(note.text)
    if not 1 <= len(note.signatures) <= SIGNATURES_MAX:
        raise Malformed(
            "note.size", f"{len(note.signatures)} signature lines; 1 to {SIGNATURES_MAX} are wanted"
        )
    return (note.text + "\n" + "".join(render_line(line) for line in note.signatures)).encode()


def render_line(line: SignatureLine) -> str:
    """One signature line with its newline."""
    _require_name(line.name)
    return f"{_LINE_START}{line.name} {_base64(line.key_id + line.signature)}\n"


def sign(text: str, *signers: NoteSigner) -> bytes:
    """A note over this text, with one type 0x01 line for each signer."""
    return render(Note(text, tuple(signer.sign_line(text) for signer in signers)))


def open_note(raw: bytes, verifiers: Sequence[NoteVerifier]) -> OpenedNote:
    """Read a note and believe only what a known key signed.

    Raises Malformed; Refuted "note.signature" if the line of a known key is bad, however many others are
    good; Unverifiable "note.unknown" if no known key signed.
    Of several lines of one key, each must be good and the first is kept.
    """
    known: dict[tuple[str, bytes], NoteVerifier] = {}
    for verifier in verifiers:
        if known.setdefault((verifier.name, verifier.key_id), verifier) != verifier:
            detail = f"two keys of {verifier.name} share the key id {verifier.key_id.hex()}"
            raise Refused("note.ambiguous", detail)
    note = parse(raw)
    verified: dict[tuple[str, bytes], SignatureLine] = {}
    unknown = []
    for line in note.signatures:
        found = known.get((line.name, line.key_id))
        if found is None:
            unknown.append(line)
        else:
            verified.setdefault((line.name, line.key_id), found.verify(note.text, line))
    if not verified:
        raise Unverifiable("note.unknown", "no key that we know has signed this note")
    return OpenedNote(note.text, tuple(verified.values()), tuple(unknown))


def _cosigned(text: str, timestamp: int) -> bytes:
    return f"cosignature/v1\ntime {timestamp}\n{text}".encode()


def _parse_line(line: str) -> SignatureLine:
    name, _, encoded = line.removeprefix(_LINE_START).partition(" ")
    if not line.startswith(_LINE_START):
        raise Malformed("note.line", "a signature line starts with an em dash and a space")
    _require_name(name)
    signature = _unbase64(encoded, "note.line")
    if len(signature) < 5:
        raise Malformed("note.line", "a signature line holds a key id of 4 bytes and a signature")
    return SignatureLine(name, signature[:4], signature[4:])


def _require_name(name: str) -> None:
    if not name or len(name.encode("utf-8", "replace")) > NAME_LENGTH_MAX:
        raise Malformed("note.name", f"a key name has 1 to {NAME_LENGTH_MAX} bytes")
    if "+" in name or any(char.isspace() or char < " " for char in name):
        raise Malformed("note.name", "a key name holds no space, no plus sign and no control character")


def _require_text(text: str) -> None:
    if not text.endswith("\n"):
        raise Malformed("note.text", "a note's text ends in a newline")
    try:
        text.encode()
    except UnicodeEncodeError as e:
        raise Malformed("note.encoding", f"a lone surrogate at {e.start}") from e
    _require_no_control(text)


def _require_no_control(text: str) -> None:
    if found := _CONTROL.search(text):
        raise Malformed("note.encoding", f"control character U+{ord(found.group()):04X} at {found.start()}")


def _base64(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def _unbase64(text: str, code: str) -> bytes:
    try:
        data = binascii.a2b_base64(text.encode("ascii"), strict_mode=True)
    except (binascii.Error, UnicodeEncodeError) as e:
        raise Malformed(code, "not standard base64 with padding") from e
    if _base64(data) != text:
        raise Malformed(code, "base64 that is not in its one canonical form")
    return data
