"""Step 2 of 9: how much requests may hold together in one worker, and who is turned away when it is full.

What arrives is counted as it arrives, so a sender that announces much and sends little holds little. Large
requests are turned away first: a giant batch never takes the room that single events need.
"""

from __future__ import annotations

from dataclasses import dataclass

from intake.errors import Busy

SMALL_SIZE_MAX = 64 * 1024  # bytes of a request or an answer that need not be looked at as a large one


@dataclass(frozen=True, slots=True)
class Capacity:
    """What one worker holds at most. A tenth of room and statements is kept for small requests.

    size_max        bytes of bodies and answers, from the first byte read to the last byte sent
    statements_max  statements between their reading and their commit
    answers_max     bytes of answers that wait for their readers; beyond it only small ones are given
    pooled_max      requests that wait for one of the threads
    """

    size_max: int = 48 * 1024 * 1024
    statements_max: int = 24_000
    answers_max: int = 48 * 1024 * 1024
    pooled_max: int = 256


class Load:
    """What one worker holds now. For one event loop."""

    def __init__(self, capacity: Capacity) -> None:
        self.capacity = capacity
        self.size = 0
        self.statements = 0
        self.answers = 0
        self.pooled = 0

    def hold(self) -> Held:
        return Held(self)


class Held:
    """What one request holds. `with load.hold() as held:` gives all of it back at the end."""

    __slots__ = ("_answer", "_load", "_size", "_statements")

    def __init__(self, load: Load) -> None:
        self._load = load
        self._size = 0
        self._statements = 0
        self._answer = 0

    def __enter__(self) -> Held:
        return self

    def __exit__(self, *_: object) -> None:
        self._load.size -= self._size
        self._load.answers -= self._answer
        self.release_statements()

    def add_bytes(self, count: int) -> None:
        """Count bytes that are about to be kept. Raises Busy if they do not fit."""
        load = self._load
        size_max = load.capacity.size_max
        if self._size + count > SMALL_SIZE_MAX:
            size_max -= size_max // 10
        if load.size + count > size_max:
            raise Busy("intake.full", "this server holds as much as it can; send it again in a moment")
        load.size += count
        self._size += count

    def add_statements(self, count: int) -> None:
        """Count statements that are about to be judged. Raises Busy if they are too many."""
        load = self._load
        statements_max = load.capacity.statements_max
        if count > 1:
            statements_max -= statements_max // 10
        if load.statements + count > statements_max:
            raise Busy("intake.full", "this server judges as much as it can; send it again in a moment")
        load.statements += count
        self._statements += count

    def release_statements(self) -> None:
        """They are in the ledger, or never will be."""
        self._load.statements -= self._statements
        self._statements = 0

    def add_answer(self, size: int) -> None:
        """Count an answer that may wait for its reader."""
        self._load.answers += size
        self._answer += size

    def require_room_for_answers(self) -> None:
        """Raise Busy while answers that nobody reads take all the room that answers have."""
        if self._load.answers > self._load.capacity.answers_max:
            raise Busy("http.answers", "too many answers here wait for their readers; ask again in a moment")
