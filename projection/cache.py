"""Step 8 of 9: what was read of the projection lately, by what it is; nothing in it ever becomes wrong."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Any, TypeVar

T = TypeVar("T")

SIZE_MAX = 96 * 1024 * 1024  # bytes, about; the columns of 10 million events have 320


class Cache:
    """Least recently used goes first. Safe from any thread; two may make the same thing at once."""

    def __init__(self, size_max: int = SIZE_MAX) -> None:
        self._size_max = size_max
        self._size = 0
        self._held: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._guard = Lock()

    def get(self, key: Hashable, make: Callable[[], T], size: int) -> T:
        """What is held under this key, else what `make` gives. size: its bytes, about."""
        with self._guard:
            held = self._held.get(key)
            if held is not None:
                self._held.move_to_end(key)
                value: T = held[0]
                return value
        made = make()
        with self._guard:
            if key not in self._held:
                self._held[key] = (made, size)
                self._size += size
                while self._size > self._size_max and self._held:
                    _, (_, gone) = self._held.popitem(last=False)
                    self._size -= gone
        return made
