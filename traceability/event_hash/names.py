"""Step 8 of 9: names for the event hash: a prefix becomes the namespace that @context declares for it.

Only what the document itself says is read, and GS1's own context, which is known here. Nothing is
fetched, so a name whose prefix some other context may declare has no known namespace, and no hash.
Source: CBV 2.0, section 8.9, rules 15, 19 and 20; JSON-LD 1.1, section 4.1.5 (compact IRIs).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from traceability.epcis.vocabulary import CONTEXT_URL_STEM
from traceability.errors import EventUnhashable

# What GS1's context declares (ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld).
GS1_PREFIXES: Mapping[str, str] = {
    "epcis": "https://ref.gs1.org/epcis/",
    "cbv": "https://ref.gs1.org/cbv/",
    "cbvmda": "urn:epcglobal:cbv:mda:",
    "gs1": "https://gs1.org/voc/",
    "rdfs": "http://www.w3.org/2000/01/rdf-schema#",
    "owl": "http://www.w3.org/2002/07/owl#",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
    "dcterms": "http://purl.org/dc/terms/",
}
# In XML a value is an xsd:anyURI or a plain text, in which nobody's prefix but GS1's means anything.
_STANDARD_VALUES = {name: GS1_PREFIXES[name] for name in ("gs1", "cbv", "epcis")}
_GS1_CONTEXT_URLS = (CONTEXT_URL_STEM, "https://gs1.github.io/EPCIS/")


class Prefixes:
    """The namespaces in force at one place of a document; one object serves all events of a document.

    from_xml  the events were read from XML, where values hold no prefixes of the document's own
    """

    __slots__ = ("_declared", "_memo", "_open", "_values", "from_xml")

    def __init__(self, *contexts: Any, from_xml: bool = False) -> None:
        self._declared = dict(GS1_PREFIXES)
        self._open = False
        self.from_xml = from_xml
        for context in contexts:
            self._read(context)
        self._values = _STANDARD_VALUES if from_xml else self._declared
        self._memo: dict[str, str] = {}

    def within(self, context: Any) -> Prefixes:
        """The namespaces where a further @context applies; the object itself if that says nothing."""
        if context is None or (isinstance(context, str) and context.startswith(_GS1_CONTEXT_URLS)):
            return self
        inner = Prefixes(from_xml=self.from_xml)
        inner._declared.update(self._declared)
        inner._open = self._open
        inner._read(context)
        return inner

    def _read(self, context: Any) -> None:
        for part in context if isinstance(context, list) else [context]:
            if isinstance(part, dict):
                for prefix, namespace in part.items():
                    if isinstance(namespace, dict):
                        namespace = namespace.get("@id")
                    if isinstance(namespace, str) and not prefix.startswith("@"):
                        self._declared[prefix] = self._expanded(namespace)
            elif isinstance(part, str) and not part.startswith(_GS1_CONTEXT_URLS):
                self._open = True

    def _expanded(self, namespace: str) -> str:
        prefix, colon, rest = namespace.partition(":")
        known = self._declared.get(prefix) if colon and not rest.startswith("//") else None
        return namespace if known is None else known + rest

    def field(self, name: str, pointer: str) -> str:
        """A field's name as the hash has it: "{namespace}local", or the bare name of the standard.

        Raises EventUnhashable "hash.prefix" where a context that was not fetched may declare the prefix.
        """
        known = self._memo.get(name)
        if known is not None:
            return known
        prefix, colon, local = name.partition(":")
        if not colon:
            result = name
        elif prefix in self._declared and not local.startswith("//"):
            result = f"{{{self._declared[prefix]}}}{local}"
        elif local.startswith("//") or prefix in ("urn", "tag"):
            cut = max(name.rfind("/"), name.rfind("#"), name.rfind(":")) + 1
            result = f"{{{name[:cut]}}}{name[cut:]}"
        elif self._open:
            raise EventUnhashable(
                "hash.prefix",
                f"the prefix {prefix[:64]!r} is declared in no context that is known here; none is fetched",
                pointer,
            )
        else:
            result = name
        self._memo[name] = result
        return result

    def written_out(self, text: str) -> str:
        """A value as formats without prefixes of their own have it: all but GS1's are written out."""
        return text if text.partition(":")[0] in _STANDARD_VALUES else self.value(text)

    def value(self, text: str) -> str:
        """A value with the prefix of a compact URI written out, if it is one."""
        colon = text.find(":")
        if colon > 0:
            namespace = self._values.get(text[:colon])
            if namespace is not None and not text.startswith("//", colon + 1):
                return namespace + text[colon + 1 :]
        return text
