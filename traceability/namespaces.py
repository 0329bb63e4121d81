"""Step 8 of 9: which namespace a name of somebody's own belongs to, by the @context around it.

As much of JSON-LD 1.1 as EPCIS uses: prefixes and terms that a @context object declares in plain sight.
Nothing is fetched, so what another address would declare stays unknown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

# What GS1's own context declares.
STANDARD_NAMESPACES: Mapping[str, str] = {
    "epcis": "https://ref.gs1.org/epcis/",
    "cbv": "https://ref.gs1.org/cbv/",
    "cbvmda": "urn:epcglobal:cbv:mda:",
    "gs1": "https://gs1.org/voc/",
    "rdfs": "http://www.w3.org/2000/01/rdf-schema#",
    "owl": "http://www.w3.org/2002/07/owl#",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
    "dcterms": "http://purl.org/dc/terms/",
}
_LAST_PART = re.compile(r"(.*[/#:])([^/#:]*)", re.DOTALL)


class Extension(NamedTuple):
    """A field that is not the standard's."""

    namespace: str | None  # None where no @context in sight declares the prefix
    local: str
    name: str  # as the event spells it
    value: Any


class Namespaces:
    """The prefixes and terms that hold somewhere in an event; inner ones go before outer ones."""

    __slots__ = ("_declared",)

    def __init__(self, *contexts: Any) -> None:
        """contexts  every @context around the place, the outermost first; None is none"""
        self._declared: dict[str, str] = dict(STANDARD_NAMESPACES)
        for context in contexts:
            self._read(context)

    def within(self, context: Any) -> Namespaces:
        """These, and those of a part that brings a @context of its own."""
        inner = Namespaces()
        inner._declared = dict(self._declared)
        inner._read(context)
        return inner

    def split(self, name: str) -> tuple[str | None, str]:
        """(namespace, local name) of a field's name: a prefixed one, a declared term or a whole URI."""
        prefix, colon, local = name.partition(":")
        if not colon or name in self._declared:
            meaning = self._declared.get(name)
            return (None, name) if meaning is None else _halves(self._resolved(meaning))
        if local.startswith("//") or prefix not in self._declared:
            return _halves(name) if _is_whole(name) else (None, local)
        return self._resolved(self._declared[prefix]), local

    def extensions(
        self, part: Mapping[str, Any], fields: frozenset[str] = frozenset()
    ) -> tuple[Extension, ...]:
        """The fields of an object that are not the standard's, in its order.

        fields  names without a colon that are the standard's here
        """
        here = self.within(part["@context"]) if "@context" in part else self
        return tuple(
            Extension(*here.split(name), name, value)
            for name, value in part.items()
            if ":" in name or not (name in fields or name.startswith("@"))
        )

    def _read(self, context: Any) -> None:
        for part in context if isinstance(context, list) else [context]:
            if isinstance(part, dict):
                for name, meaning in part.items():
                    said = meaning.get("@id") if isinstance(meaning, dict) else meaning
                    if isinstance(said, str) and not name.startswith("@"):
                        self._declared[name] = said

    def _resolved(self, meaning: str) -> str:
        # A prefix may be declared by another prefix, once; more would be a loop or a joke.
        prefix, colon, local = meaning.partition(":")
        if colon and not local.startswith("//") and prefix in self._declared and prefix != "urn":
            return self._declared[prefix] + local
        return meaning


def _is_whole(name: str) -> bool:
    return "://" in name or name.startswith(("urn:", "tag:", "ni:", "did:"))


def _halves(uri: str) -> tuple[str | None, str]:
    match = _LAST_PART.fullmatch(uri)
    return (None, uri) if match is None else (match[1], match[2])
