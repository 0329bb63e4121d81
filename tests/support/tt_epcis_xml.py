"""EPCIS XML for tests: small documents of our own, 2.0 and 1.2."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

EVENT_2_0 = """<ObjectEvent>
        <eventTime>2026-11-05T08:15:00.000+01:00</eventTime>
        <eventTimeZoneOffset>+01:00</eventTimeZoneOffset>
        <epcList><epc>urn:epc:id:sgtin:9521141.012345.100</epc></epcList>
        <action>OBSERVE</action>
        <bizStep>urn:epcglobal:cbv:bizstep:receiving</bizStep>
        <readPoint><id>urn:epc:id:sgln:9521141.00012.0</id></readPoint>
      </ObjectEvent>"""


def document(*events: str, version: str = "2.0", root: str = "", before: str = "", header: str = "") -> bytes:
    """An EPCISDocument around event elements; `before` stands ahead of the root element."""
    namespace = f"urn:epcglobal:epcis:xsd:{version[0]}"
    text = (
        f'{before}<epcis:EPCISDocument xmlns:epcis="{namespace}" schemaVersion="{version}"'
        f' creationDate="2026-11-05T09:00:00Z" xmlns:ex="https://example.com/ns/" {root}>\n'
        f"  {header}<EPCISBody><EventList>\n      {''.join(events or (EVENT_2_0,))}\n"
        "  </EventList></EPCISBody>\n</epcis:EPCISDocument>\n"
    )
    return text.encode()


def vectors(shared: Path, suffix: str) -> list[tuple[Path, list[str]]]:
    """(input, expected hashes) of the shared event-hash vectors with this suffix."""
    folder = shared / "epcis/event-hash"
    return [
        (path, path.with_suffix(".hashes").read_text().split()) for path in sorted(folder.glob(f"*{suffix}"))
    ]


def shared_documents(shared: Path) -> list[tuple[str, dict[str, Any]]]:
    """(name, document) of every JSON document of the official examples, whatever members it repeats."""
    found = []
    for folder in ("gs1-examples", "openepcis/documents", "event-hash"):
        for path in sorted((shared / "epcis" / folder).rglob("*.json*")):
            found.append((path.name, json.loads(path.read_bytes())))
    return found
