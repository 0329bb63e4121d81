"""Step 4 of 9: bytes to XML elements, safely. No document type, no entity, nothing fetched, all bounded.

The text is decoded here and handed on as UTF-8, so that there is one idea of its characters: what a
declaration claims and what the bytes are must agree. A document type is refused before any parser sees
it; with it go entity bombs, external entities and default attributes. XInclude and processing
instructions mean nothing here and are left alone.
Source: XML 1.0, sections 2.8, 4.3.3 and appendix F; OWASP, XML external entity prevention.
"""

from __future__ import annotations

import re
from typing import Any

from lxml import etree

from traceability.epcis_xml.faults import XmlFault

SIZE_MAX = 16 * 1_048_576  # a capture of some ten thousand events; the parsed tree is ten times that
NODES_MAX = 1_000_000  # tags; each costs about 200 bytes of tree
ATTRIBUTES_MAX = 1_000_000  # in the document, so that no tag of a million names is built
TEXT_MAX = 65_536  # characters of one value; the longest in any example has 500
DEPTH_MAX = 64  # elements open at once; a 1.2 document in an envelope needs about 16

_DECLARATION = re.compile(r"<\?xml(?=[ \t\r\n])[^>]{0,256}?\?>")
_ENCODING = re.compile(r"""[ \t\r\n]encoding[ \t\r\n]*=[ \t\r\n]*(?:"([^"<>]*)"|'([^'<>]*)')""")
_VERSION = re.compile(r"""[ \t\r\n]version[ \t\r\n]*=[ \t\r\n]*(?:"1\.0"|'1\.0')""")
_PROLOG = re.compile(r"(?:[ \t\r\n]++|<!--(?:(?!--).)*+-->|<\?(?:(?!\?>).)*+\?>)*+", re.DOTALL)
_TAG = re.compile(r"<[A-Za-z_:]|<[^\x00-\x7f]")
_ASCII_FAMILY = {"utf-8": "utf-8", "utf8": "utf-8", "us-ascii": "ascii", "ascii": "ascii"}
_LATIN = {"iso-8859-1": "latin-1", "latin1": "latin-1"}
_FIX_ENCODING = "Send the document as UTF-8, and say so in the XML declaration or leave it out."


class XmlRefused(XmlFault):
    """The bytes are no XML document that is read here; nothing was derived from them."""


def parse(data: bytes, *, size_max: int = SIZE_MAX) -> Any:
    """The root element of a document, without comments and processing instructions.

    Raises XmlRefused "xml.size", "xml.encoding", "xml.doctype", "xml.nodes", "xml.depth", "xml.text",
    "xml.syntax". About 15 µs for an event of 1.5 kB.
    """
    if len(data) > size_max:
        raise XmlRefused(
            "xml.size",
            f"{len(data)} bytes of XML; at most {size_max} are read",
            fix="Send several smaller documents.",
        )
    text = _decode(data)
    _refuse_doctype(text)
    _refuse_masses(text)
    declaration = _DECLARATION.match(text)
    if declaration is not None:
        # What it says about the encoding is no longer so. Its lines are kept, for messages count them.
        text = "\n" * declaration[0].count("\n") + text[declaration.end() :]
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        attribute_defaults=False,
        huge_tree=False,
        recover=False,
        remove_comments=True,
        remove_pis=True,
        collect_ids=False,
        encoding="utf-8",
    )
    try:
        root = etree.fromstring(text.encode("utf-8"), parser)
    except etree.XMLSyntaxError as e:
        raise _syntax(e) from e
    if root.getroottree().docinfo.internalDTD is not None:
        raise _doctype(1)
    return root


def _decode(data: bytes) -> str:
    if data.startswith((b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff")):
        raise XmlRefused("xml.encoding", "a document in UTF-32", fix=_FIX_ENCODING)
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return _decoded(data, "utf-16", ("utf-16",))
    if data.startswith(b"\xef\xbb\xbf"):
        return _decoded(data[3:], "utf-8", ("utf-8", "utf8"))
    head = data[:512].decode("latin-1")
    declared = _declared(head)
    codec = _ASCII_FAMILY.get(declared) or _LATIN.get(declared)
    if codec is None:
        raise XmlRefused(
            "xml.encoding",
            f"the declaration says encoding {declared[:40]!r}, which the bytes are not or which is not read",
            fix=_FIX_ENCODING,
            line=1,
        )
    return _decoded(data, codec, (declared,))


def _declared(head: str) -> str:
    declaration = _DECLARATION.match(head)
    if declaration is None:
        return "utf-8"
    named = _ENCODING.search(declaration[0])
    return (named[1] or named[2] or "").lower() if named else "utf-8"


def _decoded(data: bytes, codec: str, names: tuple[str, ...]) -> str:
    try:
        text = data.decode(codec)
    except UnicodeDecodeError as e:
        line = data.count(b"\n", 0, e.start) + 1
        raise XmlRefused(
            "xml.encoding", f"not {codec.upper()} at byte {e.start}", fix=_FIX_ENCODING, line=line
        ) from e
    declaration = _DECLARATION.match(text)
    if declaration is not None:
        if _VERSION.search(declaration[0]) is None:
            raise XmlRefused("xml.syntax", "the declaration is not of XML 1.0", line=1)
        named = _ENCODING.search(declaration[0])
        if named and (named[1] or named[2] or "").lower() not in names:
            raise XmlRefused(
                "xml.encoding",
                f"the declaration says {(named[1] or named[2] or '')[:40]!r}, but the bytes are {names[0]}",
                fix=_FIX_ENCODING,
                line=1,
            )
    return text


def _refuse_doctype(text: str) -> None:
    prolog = _PROLOG.match(text)
    start = prolog.end() if prolog else 0
    if text.startswith("<!", start):
        raise _doctype(text.count("\n", 0, start) + 1)


def _doctype(line: int) -> XmlRefused:
    return XmlRefused(
        "xml.doctype",
        "the document has a document type declaration, which may define entities; none is read",
        fix="Leave <!DOCTYPE …> out; EPCIS needs none.",
        line=line,
    )


def _refuse_masses(text: str) -> None:
    """Bounds before parsing: counts of characters are upper bounds of what a parser would build."""
    if text.count("<") > NODES_MAX and len(_TAG.findall(text)) > NODES_MAX:
        raise XmlRefused(
            "xml.nodes", f"more than {NODES_MAX} elements", fix="Send several smaller documents."
        )
    if text.count("=") > ATTRIBUTES_MAX:
        raise XmlRefused(
            "xml.nodes", f"more than {ATTRIBUTES_MAX} attributes", fix="Send several smaller documents."
        )


def _syntax(e: etree.XMLSyntaxError) -> XmlRefused:
    line = e.lineno or 0
    message = (e.msg or "not well-formed").split(", line ")[0]
    low = message.lower()
    if "depth" in low:
        return XmlRefused("xml.depth", "elements nested too deep", fix="Nest fewer.", line=line)
    if "huge" in low or "too long" in low or "too large" in low or "too big" in low:
        return XmlRefused("xml.text", f"one value is too long: {message[:160]}", line=line)
    return XmlRefused(
        "xml.syntax", f"not well-formed XML: {message[:200]}", fix="Correct the markup.", line=line
    )
