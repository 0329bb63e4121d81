"""Step 4 of 9: one canonical name for a thing, however its identifier is spelled.

The name is a Digital Link at https://id.gs1.org with the most granular key and nothing else: the owner's
domain, data in the query and coarser qualifiers do not change which thing is meant. Two spellings of one
thing have one name; two things never share one.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from traceability.errors import IdentifierMalformed, NotGs1
from traceability.gs1.digital_link import claims_key, parse_digital_link, render_digital_link
from traceability.gs1.epc_urn import canonical_of_urn

IDENTIFIERS_CACHED = 32_768  # about 10 MB; an event is validated and named from the same strings


class Judgement(NamedTuple):
    """What one identifier in an event comes to."""

    name: str  # canonical, or "raw:" and the exact string
    code: str  # "" if the string is a good GS1 identifier, or somebody's own
    detail: str


def canonical(identifier: str) -> str:
    """The canonical Digital Link of an EPC URN (id, class, idpat) or of a GS1 Digital Link.

    Raises NotGs1 if the string does not claim to be either, IdentifierMalformed with the exact reason if
    it does and breaks a rule. About 1 µs for an SGTIN.
    """
    if identifier[:8].lower() == "urn:epc:":
        return canonical_of_urn(identifier)
    link = parse_digital_link(identifier, words=True, short_gtin=True)
    # Qualifiers stand in order of granularity: the last one says which thing is meant.
    qualifier = link.qualifiers[-1] if link.qualifiers else None
    if qualifier == ("254", "0"):
        qualifier = None  # as in the URN: an extension of 0 is none
    return render_digital_link(*link.key, qualifier)


@lru_cache(maxsize=IDENTIFIERS_CACHED)
def judge(identifier: str) -> Judgement:
    """Name any string at all, and say whether it is a GS1 identifier gone wrong. Never raises.

    CBV 2.0 lets parties use URIs of their own, so a string that does not claim to be GS1's is not at fault.
    0.1 µs for one seen lately.
    """
    try:
        return Judgement(canonical(identifier), "", "")
    except IdentifierMalformed as e:
        name = "raw:" + identifier
        claims = (not isinstance(e, NotGs1) and identifier[:4].lower() == "urn:") or claims_key(identifier)
        return Judgement(name, e.code, e.detail) if claims else Judgement(name, "", "")
