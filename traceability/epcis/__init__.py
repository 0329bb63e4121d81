"""Step 4 of 9: is this a GS1 EPCIS 2.0 event, and if not, where exactly not?"""

from __future__ import annotations

from traceability.epcis.validate import read_event, validate_event

__all__ = ["read_event", "validate_event"]
