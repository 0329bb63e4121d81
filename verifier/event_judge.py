"""Step 9 of 9: events by the hundred thousand. What verifier.statements judges, for a third of the cost.

Of all that a signed event's header says, only the nonce (and the emitter's own
clock) differs from the last one of the same emitter. So an EventJudge judges a
header once and remembers how it begins. It accepts what judge() and
verify_signature() would accept, and nothing else; whatever is unusual it
leaves to them, who say exactly what is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC

from keys import base64url, envelope
from keys.envelope import PAYLOAD_SIZE_MAX
from keys.errors import Fault
from keys.jws_text import JwsText
from keys.registry import Registry
from ledger.entry import Entry, parse_time, render_time
from verifier.statements import judge

HEADERS_MAX = 10_000  # remembered; about as many as there are emitters, unless somebody plays with them
HEADER_SIZE_MAX = 3072  # longer ones are judged one by one
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_LAST_OF_TWO, _LAST_OF_THREE = frozenset(_ALPHABET[::16]), frozenset(_ALPHABET[::4])
_SIGNATURE_LENGTH = 86  # 64 bytes in base64url
# Neither quote can be an escaped one, and one brace closes the header: so this is its own member "nonce",
# followed by nothing or by "iat", and any 16 bytes in the nonce's place make a header that reads the same.
_NONCE = b',"nonce":"'
_TAIL = re.compile(rb'[A-Za-z0-9_-]{21}[AQgw]"(,"iat":(?:0|[1-9][0-9]{0,10}))?\}')

_Verify = Callable[[bytes, bytes], None]


class EventJudge:
    """Judges the statements of events by one key state. Safe to share between threads."""

    __slots__ = ("_known", "registry")

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        # How a header begins, and whether it ends in "iat": the key's verify(), and its last moment if it
        # has one, as entries write it.
        self._known: dict[tuple[bytes, bool], tuple[_Verify, bytes]] = {}

    def accepts(self, raw: bytes, recorded_at: bytes) -> bool:
        """Whether this is a statement that an event recorded then may have, with a good signature.

        recorded_at  as its entry writes it

        False decides nothing yet: judge() does. Under 3 µs and one public-key operation.
        """
        if type(raw) is JwsText:  # made of these parts, in the one spelling there is
            if len(raw) > PAYLOAD_SIZE_MAX or len(raw.header) > HEADER_SIZE_MAX:
                return False
            return self._accepts(raw, raw.header, raw.signature, recorded_at)
        # One look at all three parts: no foreign character, and two dots.
        if raw.translate(None, _ALPHABET) != b".." or len(raw) > PAYLOAD_SIZE_MAX:
            return False
        header64, payload64, signature64 = raw.split(b".")
        over = len(payload64) & 3
        if over and (over == 1 or payload64[-1] not in (_LAST_OF_TWO if over == 2 else _LAST_OF_THREE)):
            return False
        if len(signature64) != _SIGNATURE_LENGTH or len(header64) > HEADER_SIZE_MAX * 4 // 3:
            return False
        try:
            header, signature = base64url.decode(header64), base64url.decode(signature64)
        except Fault:
            return False
        return self._accepts(raw, header, signature, recorded_at)

    def _accepts(self, raw: bytes, header: bytes, signature: bytes, recorded_at: bytes) -> bool:
        try:
            at = header.rfind(_NONCE) + len(_NONCE)
            tail = _TAIL.fullmatch(header, at)
            if tail is None:
                return False
            start = (header[:at], tail[1] is not None)
            known = self._known.get(start)
            if known is None:
                return self._learn(start, raw, recorded_at)
            verify, last_moment = known
            if last_moment and recorded_at > last_moment:
                return False
            verify(signature, raw[: -_SIGNATURE_LENGTH - 1])
        except Fault:
            return False
        return True

    def leaves(self, statements: Sequence[bytes], times: Sequence[bytes]) -> list[int]:
        """Which of these events, by their places, are not accepted and left to judge()."""
        accepts, left = self.accepts, []
        for place, (raw, recorded_at) in enumerate(zip(statements, times, strict=True)):
            try:
                if accepts(raw, recorded_at):
                    continue
                left.append(place)
            except Exception:  # hostile bytes may break anything: the exact judge says what they are
                left.append(place)
        return left

    def _learn(self, start: tuple[bytes, bool], raw: bytes, recorded_at: bytes) -> bool:
        """Judge a statement as everybody's, and remember how its header begins. Raises a Fault."""
        moment = parse_time(recorded_at.decode())
        judged = judge(Entry(1, "event", moment, b"", b"", 0), raw, self.registry)
        envelope.verify(judged.statement, judged.key.public_key)
        not_after = judged.key.not_after
        last_moment = b"" if not_after is None else render_time(not_after.astimezone(UTC)).encode()
        if len(self._known) >= HEADERS_MAX:
            self._known.clear()
        self._known[start] = judged.key.public_key.verify, last_moment
        return True
