"""Step 1 of 9, at the very start: files, folders and standard input, as drafts for the outbox.

    7.json, 7.jsonld      one event, or one whole document; its exact bytes are what gets signed
    7.xml                 one whole document in XML; likewise
    day.jsonl, .ndjson    one event (or document) a line; the line's bytes without the line end
    7.jws                 statements that were signed already, one a line
    events/               all of these inside, in natural order: 9.json before 10.json
    -                     standard input: one event or one signed statement a line

What a ledger could never read is refused here, before it is signed: a signature under something
broken cannot be taken back.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from client.errors import InputMalformed
from client.outbox import Draft
from keys import envelope, strict_json
from keys.errors import Malformed

EVENT_SUFFIXES = frozenset({".json", ".jsonld", ".xml"})
LINES_SUFFIXES = frozenset({".jsonl", ".ndjson"})
SIGNED_SUFFIX = ".jws"
_TAKEN = EVENT_SUFFIXES | LINES_SUFFIXES | {SIGNED_SUFFIX}
FILES_MAX = 1_000_000
TYP_EVENT, TYP_DOCUMENT = "epcis-event+jws", "epcis-document+jws"
ANY = "any"  # instead of a class: events and documents alike, for who splits these
_DOCUMENTS = ("EPCISDocument", "EPCISQueryDocument")
_BEFORE_XML = b"\xef\xbb\xbf \t\r\n"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
LINE_SIZE_MAX = envelope.STATEMENT_SIZE_MAX + 2


def find_files(paths: Iterable[str]) -> list[Path]:
    """The files that these paths name, folders opened up; '-' is left out.

    Raises InputMalformed for a path that is not there, is of no known kind, or a folder with nothing in it.
    """
    found: list[Path] = []
    for name in paths:
        path = Path(name)
        if name == "-":
            continue
        if path.is_dir():
            inside = [file for file in path.rglob("*") if file.suffix.lower() in _TAKEN and file.is_file()]
            if not inside:
                raise InputMalformed("input.folder", f"{name} holds no .json, .jsonld, .jsonl, .xml or .jws")
            found += sorted(inside, key=_natural)
        elif not path.exists():
            raise InputMalformed("input.missing", f"{name} does not exist")
        elif path.suffix.lower() not in _TAKEN:
            raise InputMalformed(
                "input.kind", f"{name} is neither .json, .jsonld, .jsonl, .ndjson, .xml nor .jws"
            )
        else:
            found.append(path)
        if len(found) > FILES_MAX:
            raise InputMalformed("input.count", f"more than {FILES_MAX} files at once")
    return found


def read_drafts(paths: Iterable[str], stdin: BinaryIO, *, typ: str) -> Iterator[Draft]:
    """Everything these paths name, in order, each checked as far as it can be before signing.

    typ  the class under which it will be signed, or ANY

    Raises InputMalformed at the first thing that cannot be signed or sent.
    """
    for name in paths:
        if name == "-":
            yield from _read_lines("stdin", stdin, typ)
            continue
        for path in find_files([name]):
            yield from _read_file(path, typ)


def _read_file(path: Path, typ: str) -> Iterator[Draft]:
    try:
        with path.open("rb") as stream:
            if path.suffix.lower() in EVENT_SUFFIXES:
                # One more than the bound, so that a file over it is seen to be over it.
                yield _event(str(path), stream.read(envelope.PAYLOAD_SIZE_MAX + 1), typ)
            else:
                yield from _read_lines(str(path), stream, typ)
    except OSError as e:
        raise InputMalformed("input.unreadable", f"{path} cannot be read: {e.strerror}") from e


def _read_lines(name: str, stream: BinaryIO, typ: str) -> Iterator[Draft]:
    number = 0
    while line := stream.readline(LINE_SIZE_MAX + 1):
        number += 1
        source = f"{name}:{number}"
        if len(line) > LINE_SIZE_MAX:
            raise InputMalformed(
                "input.line", f"{source} is longer than any statement ({LINE_SIZE_MAX} bytes)"
            )
        content = line.removesuffix(b"\n").removesuffix(b"\r")
        if not content.strip():
            continue
        is_event = content.lstrip()[:1] in (b"{", b"[") or b"." not in content
        yield _event(source, content, typ) if is_event else Draft(source, statement=content)


def _event(source: str, payload: bytes, typ: str) -> Draft:
    if payload.startswith(_UTF_16) or payload.lstrip(_BEFORE_XML).startswith(b"<"):
        return _xml(source, payload, typ)
    try:
        document = strict_json.loads(payload, size_max=envelope.PAYLOAD_SIZE_MAX)
    except Malformed as e:
        raise InputMalformed(e.code, f"{source}: {e.detail}", e.pointer) from e
    if not isinstance(document, dict):
        raise InputMalformed("input.event", f"{source}: an event is a JSON object, this is something else")
    is_document = document.get("type") in _DOCUMENTS
    if typ == TYP_EVENT and is_document:
        raise _whole(source)
    if typ == TYP_DOCUMENT and not is_document:
        raise InputMalformed("input.no-document", f"{source} is no document: send it without --document")
    return Draft(source, payload=payload)


def _xml(source: str, payload: bytes, typ: str) -> Draft:
    if typ not in (TYP_DOCUMENT, ANY):
        raise _whole(source)
    if len(payload) > envelope.PAYLOAD_SIZE_MAX:
        raise InputMalformed(
            "input.size", f"{source} is longer than one statement holds ({envelope.PAYLOAD_SIZE_MAX} bytes)"
        )
    return Draft(source, payload=payload)


def _whole(source: str) -> InputMalformed:
    return InputMalformed(
        "input.document",
        f"{source} is a whole EPCIS document: sign it as it is with --document, or each of its events with"
        " --split",
    )


def _natural(path: Path) -> list[tuple[int, int, str]]:
    """The order people expect: numbers inside names count as numbers."""
    pieces = re.split(r"([0-9]+)", str(path))
    return [(0, int(piece), piece) if piece.isdecimal() else (1, 0, piece) for piece in pieces]
