"""Step 6 of 9: how statements and entries lie in rows. Below both stores; used by intake's workers as well.

A *part* is 1 to 64 neighbouring statements packed together; a row holds one or more parts, one behind the
other:

    part    format (1 byte) | how many (1 byte) | size of the content (4 bytes, big-endian) | content
    GONE    0   no content: nothing stands at these places any more
    PLAIN   1   a length for each (4 bytes), then the statements
    ZIPPED  2   a Zstandard frame of what PLAIN has
    JWS     3   64 bytes of signature for each, then a Zstandard frame of: the length of each header (2 bytes)
                and of each payload (4 bytes), then all headers, then all payloads; none in base64url

Promise: unpack(pack(x)) == x, byte for byte, and pack() has looked. Zstandard's frames are made with
dictionaries/statements-1.zdict, which never changes: a better dictionary is a new format.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator, Sequence
from functools import cache
from hashlib import sha256
from importlib import resources
from itertools import accumulate, chain, pairwise

import msgspec
import zstandard

from keys.jws_text import jws_text
from ledger.errors import RecordDamaged, StoreFailed

PART_COUNT_MAX = 64
PART_SIZE_MAX = 1 << 18  # bytes of statements from which a part takes no further one
UNPACKED_SIZE_MAX = 1 << 24  # a part that claims to be larger is not one of ours
GONE, PLAIN, ZIPPED, JWS = 0, 1, 2, 3
DICTIONARY_SHA256 = "da26c98e4451a5cd668c48097f9befc1f1c9450083f5269b5bdc1d64997afdfd"

_LEVEL = 1  # 3 and above cost twice and more and save one in a hundred
_SIGNATURE_SIZE = 64
_SIGNATURE_LENGTH = 86  # in base64url
_HEADER_SIZE_MAX = 0xFFFF
_HEAD = struct.Struct(">BBI")
# What is not base64url becomes "!", which no decoder takes.
_TO_STANDARD = bytes.maketrans(b"-_+/=", b"+/!!!")
_TO_URL = bytes.maketrans(b"+/", b"-_")
_TO_DOTTED = bytes.maketrans(b"+/,", b"-_.")
_PADDING = (b"", b"!", b"==", b"=")  # no text has a length of 1 modulo 4
_decode_array = msgspec.json.Decoder(list[bytes]).decode
_encode_array = msgspec.json.Encoder().encode


class _Codec(threading.local):
    """Zstandard's contexts, which no two threads may use at once. Made when a thread first needs them."""

    _made: tuple[zstandard.ZstdCompressor, zstandard.ZstdDecompressor] | None = None

    def compress(self, data: bytes) -> bytes:
        packed: bytes = (self._made or self._make())[0].compress(data)
        return packed

    def decompress(self, data: bytes) -> bytes:
        unpacked: bytes = (self._made or self._make())[1].decompress(data, allow_extra_data=False)
        return unpacked

    def _make(self) -> tuple[zstandard.ZstdCompressor, zstandard.ZstdDecompressor]:
        self._made = (
            zstandard.ZstdCompressor(
                level=_LEVEL, dict_data=_dictionary(), write_checksum=False, write_dict_id=False
            ),
            zstandard.ZstdDecompressor(dict_data=_dictionary()),
        )
        return self._made


@cache
def _dictionary() -> zstandard.ZstdCompressionDict:
    data = resources.files("ledger.store").joinpath("dictionaries/statements-1.zdict").read_bytes()
    if sha256(data).hexdigest() != DICTIONARY_SHA256:
        # With another one, good rows would read as altered, and new ones only this installation could read.
        raise StoreFailed(
            "store.dictionary",
            "the file dictionaries/statements-1.zdict of this installation is not the one that the ledger's "
            "rows are packed with: install Tallystick again",
        )
    made = zstandard.ZstdCompressionDict(data)
    made.precompute_compress(level=_LEVEL)
    return made


_codec = _Codec()


def pack_parts(statements: Sequence[bytes]) -> list[tuple[int, bytes]]:
    """Pack statements in order: (how many, part) for each part. About 4 µs a statement of 1 KB."""
    parts: list[tuple[int, bytes]] = []
    start = 0
    while start < len(statements):
        end, size = start, 0
        while end < len(statements) and end - start < PART_COUNT_MAX and size < PART_SIZE_MAX:
            size += len(statements[end])
            end += 1
        parts.append((end - start, pack(statements[start:end])))
        start = end
    return parts


def pack(statements: Sequence[bytes]) -> bytes:
    """One part of 1 to PART_COUNT_MAX statements, the smallest that can be made of them quickly."""
    if not 1 <= len(statements) <= PART_COUNT_MAX:
        raise ValueError(f"{len(statements)} statements; a part has 1 to {PART_COUNT_MAX}")
    count = len(statements)
    content = _pack_jws(statements)
    if content is not None:
        return _HEAD.pack(JWS, count, len(content)) + content
    plain = _lengths(statements) + b"".join(statements)
    content = _codec.compress(plain)
    if len(content) < len(plain) <= UNPACKED_SIZE_MAX and _decompress(content) == plain:
        return _HEAD.pack(ZIPPED, count, len(content)) + content
    return _HEAD.pack(PLAIN, count, len(plain)) + plain


def part_count(body: bytes) -> int:
    """How many statements a part says that it holds; 0 where it is none."""
    return body[1] if len(body) >= _HEAD.size else 0


def gone(count: int) -> bytes:
    """A part that says: nothing stands at these places any more."""
    return _HEAD.pack(GONE, count, 0)


def unpack(body: bytes) -> list[bytes | None]:
    """All statements of a row, None where one is gone; about 2 µs a statement. Raises RecordDamaged."""
    statements: list[bytes | None] = []
    for form, count, content in _parts(body):
        statements += _unpack(form, count, content)
    return statements


def unpack_signed(body: bytes) -> list[bytes | None]:
    """Like unpack(); those that lie decoded in their part come as JwsText, for 0.5 µs more."""
    statements: list[bytes | None] = []
    for form, count, content in _parts(body):
        statements += _unpack(form, count, content, with_parts=True)
    return statements


def unpack_one(body: bytes, index: int) -> bytes | None:
    """The statement at this place of the row. Unpacks what it must: 40 µs. Raises RecordDamaged."""
    for form, count, content in _parts(body):
        if index < count:
            return _unpack_one(form, count, content, index)
        index -= count
    raise _damaged("it holds fewer statements than it should")


def join_parts(parts: Sequence[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """Rows for these parts: neighbours share one, up to PART_COUNT_MAX statements of PART_SIZE_MAX bytes."""
    rows: list[tuple[int, bytes]] = []
    held: list[bytes] = []
    count = size = 0
    for added, body in parts:
        if held and (count + added > PART_COUNT_MAX or size + len(body) > PART_SIZE_MAX):
            rows.append((count, held[0] if len(held) == 1 else b"".join(held)))
            held, count, size = [], 0, 0
        held.append(body)
        count += added
        size += len(body)
    if held:
        rows.append((count, held[0] if len(held) == 1 else b"".join(held)))
    return rows


def _parts(body: bytes) -> Iterator[tuple[int, int, bytes]]:
    offset = held = 0
    while offset < len(body):
        start = offset + _HEAD.size
        if start > len(body):
            raise _damaged("it ends within a part's head")
        form, count, size = _HEAD.unpack_from(body, offset)
        offset = start + size
        if offset > len(body) or not 1 <= count <= PART_COUNT_MAX:
            raise _damaged("a part of it has no possible size")
        held += count
        if held > PART_COUNT_MAX:  # each of its parts may unpack to a thousand times its size
            raise _damaged("it holds more statements than a row may")
        yield form, count, body[start:offset]


def _unpack(form: int, count: int, content: bytes, *, with_parts: bool = False) -> Sequence[bytes | None]:
    if form == GONE and not content:
        return [None] * count
    try:
        if form == PLAIN:
            return _cut(content, count)
        if form == ZIPPED:
            return _cut(_decompress(content), count)
        if form == JWS:
            return _unpack_jws(content, count, with_parts=with_parts)
    except (struct.error, ValueError, zstandard.ZstdError) as e:
        raise _damaged(str(e)) from e
    raise _damaged(f"no part has the format {form}")


def _unpack_one(form: int, count: int, content: bytes, index: int) -> bytes | None:
    if form != JWS:
        return _unpack(form, count, content)[index]
    try:
        start = count * _SIGNATURE_SIZE
        stream = _decompress(content[start:])
        sizes = struct.unpack_from(f">{count}H{count}I", stream)
        ends = list(accumulate(sizes, initial=6 * count))
        if ends[-1] != len(stream) or start > len(content):
            raise ValueError("its lengths do not add up")
        pieces = (
            stream[ends[index] : ends[index + 1]],
            stream[ends[count + index] : ends[count + index + 1]],
            content[_SIGNATURE_SIZE * index : _SIGNATURE_SIZE * (index + 1)],
        )
    except (struct.error, ValueError, zstandard.ZstdError) as e:
        raise _damaged(str(e)) from e
    return _encode_array(pieces).translate(_TO_URL, b'="[]').replace(b",", b".")


def _cut(plain: bytes, count: int) -> list[bytes]:
    sizes = struct.unpack_from(f">{count}I", plain)
    return list(_slices(plain, 4 * count, sizes))


def _slices(data: bytes, start: int, sizes: Sequence[int]) -> Iterator[bytes]:
    ends = list(accumulate(sizes, initial=start))
    if ends[-1] != len(data):
        raise ValueError("its lengths do not add up")
    return (data[a:b] for a, b in pairwise(ends))


def _lengths(statements: Sequence[bytes]) -> bytes:
    return struct.pack(f">{len(statements)}I", *map(len, statements))


def _pack_jws(statements: Sequence[bytes]) -> bytes | None:
    """The content of a JWS part, or None if one of them is not a compact JWS in its one spelling."""
    count = len(statements)
    texts = b".".join(statements).translate(_TO_STANDARD).split(b".")
    if len(texts) != 3 * count or set(map(len, texts[2::3])) != {_SIGNATURE_LENGTH}:
        return None
    # As one JSON array: msgspec decodes base64 several times as fast as binascii, and here in one call.
    array = b'["' + b'","'.join([text + _PADDING[len(text) & 3] for text in texts]) + b'"]'
    try:
        binaries = _decode_array(array)
    except msgspec.MsgspecError:
        return None
    headers, payloads, signatures = binaries[::3], binaries[1::3], b"".join(binaries[2::3])
    if max(map(len, headers)) > _HEADER_SIZE_MAX:
        return None
    sizes = struct.pack(f">{count}H{count}I", *map(len, headers), *map(len, payloads))
    stream = b"".join((sizes, *headers, *payloads))
    packed = _codec.compress(stream)
    # Looked at before it is believed: some bytes have several spellings in base64url, and JWS keeps one.
    if _encode_array(binaries) != array or _decompress(packed) != stream:
        return None
    return signatures + packed


def _unpack_jws(content: bytes, count: int, *, with_parts: bool) -> Sequence[bytes]:
    start = count * _SIGNATURE_SIZE
    if len(content) < start:
        raise ValueError("a signature of it is cut off")
    stream = _decompress(content[start:])
    sizes = struct.unpack_from(f">{count}H{count}I", stream)
    binaries = list(_slices(stream, 6 * count, sizes))
    headers, payloads = binaries[:count], binaries[count:]
    signatures = [content[at : at + _SIGNATURE_SIZE] for at in range(0, start, _SIGNATURE_SIZE)]
    array = _encode_array(list(chain.from_iterable(zip(headers, payloads, signatures, strict=True))))
    # Three texts each, with a comma between all: cut where the lengths say that each statement ends.
    text = array.translate(_TO_DOTTED, b'="[]')
    lengths = [
        (4 * header + 2) // 3 + (4 * payload + 2) // 3 + _SIGNATURE_LENGTH + 3
        for header, payload in zip(sizes[:count], sizes[count:], strict=True)
    ]
    texts = [text[a : b - 1] for a, b in pairwise(accumulate(lengths, initial=0))]
    return list(map(jws_text, texts, headers, signatures)) if with_parts else texts


def _decompress(packed: bytes) -> bytes:
    size = zstandard.frame_content_size(packed)
    if not 0 <= size <= UNPACKED_SIZE_MAX:
        raise ValueError(f"it claims to unpack to {size} bytes")
    return _codec.decompress(packed)


def _damaged(why: str) -> RecordDamaged:
    return RecordDamaged("store.part", f"a row of statements cannot be unpacked: {why}")
