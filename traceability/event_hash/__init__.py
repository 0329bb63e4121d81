"""Step 8 of 9: the event hash of CBV 2.0, section 8.9: one name for what an event says, in JSON or XML.

It finds duplicates across formats, and stands in as eventID where a partner gave none. It protects
nothing: an expiry date in a link, a lot before a serial, an error declaration and an event id may all
change, and the hash stays. What protects an event is its signed statement and that statement's digest.
"""

from __future__ import annotations

from traceability.event_hash.canonical import ALGORITHM, event_hash, pre_hash
from traceability.event_hash.documents import HashedEvent, hash_document
from traceability.event_hash.names import Prefixes

__all__ = ["ALGORITHM", "HashedEvent", "Prefixes", "event_hash", "hash_document", "pre_hash"]
