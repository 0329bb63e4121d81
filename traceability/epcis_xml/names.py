"""Step 4 of 9: XML namespaces as JSON-LD prefixes: one prefix for each namespace of a document.

A prefix keeps the spelling that the document gave it, unless two namespaces claim the same one or it is
one of GS1's with another meaning; the namespace, which is what counts, is never changed.
"""

from __future__ import annotations

import re
from typing import Any

from traceability.epcis.vocabulary import CONTEXT_URL_STEM
from traceability.event_hash.names import GS1_PREFIXES

CONTEXT_URL = CONTEXT_URL_STEM + "2.0.0/epcis-context.jsonld"

# Namespaces of the standard's own elements, which have no place among extensions.
STANDARD_NAMESPACES = (
    "urn:epcglobal:epcis:xsd:",
    "urn:epcglobal:epcis-query:xsd:",
    "urn:epcglobal:epcis-masterdata:xsd:",
    "urn:epcglobal:xsd:1",
)
SCHEMA_INSTANCE = "http://www.w3.org/2001/XMLSchema-instance"
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*")
_XML = "http://www.w3.org/XML/1998/namespace"
# Both are in use for the same thing: the JSON-LD context writes a colon behind it, most XML does not.
_MASTER_DATA_ATTRIBUTES = ("urn:epcglobal:cbv:mda", "urn:epcglobal:cbv:mda:")


class Names:
    """Gives "prefix:local" for "{namespace}local", and remembers which prefixes were used."""

    __slots__ = ("_memo", "_prefixes", "used")

    def __init__(self) -> None:
        self._prefixes: dict[str, str] = {}  # namespace -> prefix
        self._memo: dict[str, str] = {}
        self.used: dict[str, str] = {}  # prefix -> namespace, in order of first use

    def of(self, element: Any, tag: str) -> str:
        """The JSON name for a qualified tag or attribute of this element."""
        known = self._memo.get(tag)
        if known is not None:
            return known
        namespace, _, local = tag[1:].partition("}")
        name = f"{self._prefix(element, namespace)}:{local}"
        self._memo[tag] = name
        return name

    def _prefix(self, element: Any, namespace: str) -> str:
        known = self._prefixes.get(namespace)
        if known is not None:
            return known
        wanted = element.prefix if element.nsmap.get(element.prefix) == namespace else None
        if wanted is None:
            wanted = next((p for p, n in element.nsmap.items() if n == namespace and p), None)
        if namespace == _XML:
            wanted = "xml"
        if wanted is not None and _SCHEME.fullmatch(wanted) is None:
            wanted = None  # JSON-LD names are URIs, and in a URI this could not stand first
        prefix, number = wanted or "ns", 2
        while self._taken(prefix, namespace):
            prefix, number = f"{wanted or 'ns'}{number}", number + 1
        self._prefixes[namespace] = prefix
        if GS1_PREFIXES.get(prefix) != namespace:
            self.used[prefix] = namespace
        return prefix

    def _taken(self, prefix: str, namespace: str) -> bool:
        if self.used.get(prefix, namespace) != namespace:
            return True
        if prefix == "cbvmda" and namespace in _MASTER_DATA_ATTRIBUTES:
            return False
        return GS1_PREFIXES.get(prefix, namespace) != namespace or prefix in ("urn", "http", "https", "ni")

    def context(self) -> list[Any]:
        """The @context of the document derived: GS1's, then each namespace that was used."""
        return [CONTEXT_URL, *({prefix: namespace} for prefix, namespace in self.used.items())]


def is_standard(namespace: str) -> bool:
    """Whether a namespace is the standard's own, in which nobody else may define elements."""
    return namespace.startswith(STANDARD_NAMESPACES)
