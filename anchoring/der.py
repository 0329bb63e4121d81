"""Step 7 of 9: put the certificates of a time-stamp answer into the order that DER wants.

Many authorities, OpenSSL's among them, list the certificates of their chain from the leaf upwards, where
DER wants a SET OF sorted by its bytes; rfc3161-client refuses such answers. No signature covers that
list, and sorting it changes neither its length nor anything else.
"""

from __future__ import annotations

from asn1crypto.parser import parse, peek

_SEQUENCE = 0x30
_CONTEXT_0 = 0xA0


def sort_certificates(response: bytes) -> bytes:
    """The same TimeStampResp with sorted certificates; bytes of any other shape are returned as they are."""
    try:
        _, token = _children(response, *_only(response, 0, len(response), _SEQUENCE))
        _, explicit = _children(response, *_enter(response, *token, _SEQUENCE))
        signed = _only(response, *_enter(response, *explicit, _CONTEXT_0), _SEQUENCE)
        found = [part for part in _children(response, *signed) if response[part[0]] == _CONTEXT_0]
        if len(found) != 1:
            return response
        start, end = _enter(response, *found[0], _CONTEXT_0)
        certificates = [response[first:last] for first, last in _children(response, start, end)]
    except ValueError:  # the parser's own error for anything that is not DER or BER
        return response
    return response[:start] + b"".join(sorted(certificates)) + response[end:]


def _children(data: bytes, start: int, end: int) -> list[tuple[int, int]]:
    """Where each of the values begins and ends that follow each other from start to end."""
    spans: list[tuple[int, int]] = []
    while start < end:
        size = peek(data[start:end])
        spans.append((start, start + size))
        start += size
    return spans


def _enter(data: bytes, start: int, end: int, tag: int) -> tuple[int, int]:
    """Where the contents of the value at start begin and end; ValueError if it has another tag."""
    if data[start] != tag:
        raise ValueError("another tag")
    _, _, _, header, content, _ = parse(data[start:end])
    first = start + len(header)
    return first, first + len(content)


def _only(data: bytes, start: int, end: int, tag: int) -> tuple[int, int]:
    """The contents of the one value from start to end."""
    ((first, last),) = _children(data, start, end)
    return _enter(data, first, last, tag)
