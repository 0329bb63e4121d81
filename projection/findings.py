"""Step 8 of 9: what the projector noticed about events that were taken in. It reports; nothing is undone.

event.hash.twice   an event says what another said before it, and declares no error
event.hash.other   an event's id is an ni: URI, and not its event hash
"""

from __future__ import annotations

from dataclasses import dataclass

TWICE = "event.hash.twice"
OTHER = "event.hash.other"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing noticed about the event at (seq, ordinal)."""

    seq: int
    ordinal: int
    code: str
    detail: str
