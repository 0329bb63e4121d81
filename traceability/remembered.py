"""Step 4 of 9: remember what was worked out of a text, within a bound of bytes and not of answers alone.

A sender chooses how long the texts are that it sends: thirty thousand of a megabyte each are no cache.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

TEXT_LENGTH_MAX = 512  # characters; an identifier, a word or a time has under 100

Result = TypeVar("Result")


def remembered(count: int) -> Callable[[Callable[[str], Result]], Callable[[str], Result]]:
    """Like functools.lru_cache, for a function of one text; what comes of a long one is made each time."""

    def decorate(function: Callable[[str], Result]) -> Callable[[str], Result]:
        cached = lru_cache(maxsize=count)(function)

        def call(text: str) -> Result:
            return cached(text) if len(text) <= TEXT_LENGTH_MAX else function(text)

        call.__name__, call.__doc__ = function.__name__, function.__doc__
        return call

    return decorate


def remembered_pair(count: int) -> Callable[[Callable[[str, str], Result]], Callable[[str, str], Result]]:
    """The same for a function of two texts."""

    def decorate(function: Callable[[str, str], Result]) -> Callable[[str, str], Result]:
        cached = lru_cache(maxsize=count)(function)

        def call(one: str, other: str) -> Result:
            if len(one) + len(other) <= TEXT_LENGTH_MAX:
                return cached(one, other)
            return function(one, other)

        call.__name__, call.__doc__ = function.__name__, function.__doc__
        return call

    return decorate
