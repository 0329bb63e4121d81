"""Step 4 of 9: GS1 identifiers. One thing, many spellings, one canonical name.

canonical() is the door; digital_link, epc_urn and keys are what is behind it.
"""

from __future__ import annotations

from traceability.gs1.canonical import canonical
from traceability.gs1.check_digit import check_digit
from traceability.gs1.digital_link import DigitalLink, parse_digital_link

__all__ = ["DigitalLink", "canonical", "check_digit", "parse_digital_link"]
