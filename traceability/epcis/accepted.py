"""Step 4 of 9: is this event, already read, like one that was found good before? validate.py asks first.

As familiar.py does with bytes: what stands around an event's time, id and things is its frame. Here the
value has been read, so a frame is the rest of it, written as JSON, with the @context of the document around.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import orjson

from traceability.epcis.formats import is_time
from traceability.epcis.holes import is_good_id, is_good_identifier, is_good_list, read_time

FRAMES_KEPT_MAX = 2048
FRAME_SIZE_MAX = 8192  # so 16 MiB at most are kept; GS1's examples with every field there is have 5 KB

_ONLY_JSON = (
    orjson.OPT_PASSTHROUGH_DATACLASS
    | orjson.OPT_PASSTHROUGH_DATETIME
    | orjson.OPT_PASSTHROUGH_SUBCLASS
    | orjson.OPT_STRICT_INTEGER
)
_HOLES: dict[str, Callable[[Any], bool]] = {
    "epcList": is_good_list,
    "eventID": is_good_id,
    "parentID": is_good_identifier,
    "childEPCs": is_good_list,
    "inputEPCList": is_good_list,
    "outputEPCList": is_good_list,
}
_HOLE_NAMES = _HOLES.keys()
_PLACE = [0]  # stands in a frame where a hole is: nothing that would be found good looks so
_FRAMES: set[bytes] = set()


def context_key(context: Any) -> bytes | None:
    """What the frames of events in a document depend on beside the events; None if nothing can be kept.

    context  the document's @context
    """
    return _written(context, b"")


def find_frame(event: dict[str, Any], context: bytes) -> bytes | None:
    """The frame of an event, or None if it has none that could be kept.

    context  of context_key(), or empty for a bare event
    """
    rest = event.copy()
    rest["eventTime"] = _PLACE
    for name in _HOLE_NAMES & rest.keys():
        # What is empty stays in the frame: whether a list is, makes a difference to the rules.
        if rest[name]:
            rest[name] = _PLACE
    return _written(rest, context)


def is_accepted(event: dict[str, Any], frame: bytes, now: datetime | None) -> bool:
    """Whether an event of this frame was found good, and all that differs is good as well.

    True says that the exact validator would find no fault; False says nothing.
    """
    if frame not in _FRAMES:
        return False
    time = event.get("eventTime")
    if type(time) is not str or not (is_time(time) if now is None else read_time(time, now)):
        return False
    for name in _HOLE_NAMES & event.keys():
        value = event[name]
        if value and not _HOLES[name](value):
            return False
    return True


def remember(frame: bytes) -> None:
    """Keep the frame of an event in which the exact validator found no fault."""
    if len(frame) <= FRAME_SIZE_MAX:
        if len(_FRAMES) >= FRAMES_KEPT_MAX:
            _FRAMES.clear()
        _FRAMES.add(frame)


def _written(value: Any, context: bytes) -> bytes | None:
    try:
        # NaN, which no JSON text can hold, is written as null: both are good in extensions, and nowhere else.
        return context + orjson.dumps(value, option=_ONLY_JSON)
    except TypeError:  # which orjson's own errors are: a lone surrogate, an integer beyond 64 bits
        return None
