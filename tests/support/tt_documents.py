"""Whole EPCIS documents for tests, JSON-LD and XML, signed by a party of a Site."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import tt_keys
import tt_site

from keys import base64url, envelope

TYP = "epcis-document+jws"
CREATED = "2026-11-20T11:00:00.000Z"


def document(events: Iterable[Mapping[str, Any]], **members: Any) -> dict[str, Any]:
    """An EPCISDocument around these events, which keep no @context of their own."""
    return {
        "@context": [tt_site.CONTEXT, {"ex": "https://example.com/ns/"}],
        "type": "EPCISDocument",
        "schemaVersion": "2.0",
        "creationDate": CREATED,
        "epcisBody": {"eventList": [{n: v for n, v in event.items() if n != "@context"} for event in events]},
        **members,
    }


def sign(site: tt_site.Site, party: str, value: Any) -> bytes:
    """A document as this party signs it: a value as JSON, bytes as they are."""
    payload = value if isinstance(value, bytes) else json.dumps(value).encode()
    return envelope.sign(site.keys[party], typ=TYP, aud=tt_keys.ORIGIN, payload=payload)


def xml(*serials: str, step: str = "receiving", extra: str = "") -> bytes:
    """An EPCIS 2.0 XML document: one observation of each pack."""
    events = "".join(
        f"""<ObjectEvent>
          <eventTime>2026-11-17T08:15:00.000Z</eventTime>
          <eventTimeZoneOffset>+00:00</eventTimeZoneOffset>
          <epcList><epc>{tt_site.pack_urn(serial)}</epc></epcList>
          <action>OBSERVE</action>
          <bizStep>urn:epcglobal:cbv:bizstep:{step}</bizStep>
          <readPoint><id>{tt_site.place_urn(2)}</id></readPoint>
          {extra}
        </ObjectEvent>"""
        for serial in serials
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<epcis:EPCISDocument xmlns:epcis="urn:epcglobal:epcis:xsd:2" schemaVersion="2.0"'
        f' creationDate="{CREATED}" xmlns:ex="https://example.com/ns/">\n'
        f"<EPCISBody><EventList>{events}</EventList></EPCISBody></epcis:EPCISDocument>"
    ).encode()


def decoded_header(statement: bytes) -> bytes:
    """The protected header of a statement, as JSON."""
    return base64url.decode(statement.split(b".")[0])
