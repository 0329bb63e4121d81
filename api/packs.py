"""Step 9 of 9, seen from the server: everything known about one product, and the server's own check of it.

The check runs verifier.evidence on the very bundle that is handed out, against what this server pins:
the page can then say nothing that the file does not prove.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from api.errors import NothingHere, Withheld
from api.reading import Reading
from api.services import Services
from intake.authority import EVENT_TYP
from keys.registry import Registry
from traceability.gs1 import canonical
from traceability.history import History, history
from verifier import evidence
from verifier.verdict import Report


@dataclass(frozen=True, slots=True)
class Examined:
    """One product's record, with what this server found when it checked its own evidence."""

    history: History
    report: Report
    registry: Registry


class Packs:
    """Histories, evidence and checks, for anybody who may read."""

    def __init__(self, services: Services, reading: Reading) -> None:
        self._services = services
        self._reading = reading

    def canonical(self, identifier: str) -> str:
        """The one name of what this identifier means. Raises Malformed "gs1.…"."""
        return canonical(identifier)

    def history(self, epc: str) -> History:
        """What the ledger's index holds about this product, through its aggregation.

        Raises Withheld where the public may not read events, NothingHere where there are none.
        """
        self._reading.head()
        if not self._reading.may_read_typ(EVENT_TYP, None):
            raise Withheld("history.withheld", "this ledger's policy does not open its events to you")
        found = history(self._services.reader, epc, limit=self._services.limits.history_items_max)
        if not found.items:
            raise NothingHere("history.none", f"this ledger holds no event about {epc}")
        return found

    def evidence(self, epc: str) -> bytes:
        """The evidence bundle of this product. Raises NoEvidence where one file cannot hold it."""
        return self._build(epc, self.history(epc))

    def examine(self, epc: str) -> Examined:
        """The product's record and what its evidence proves. Raises as history() and evidence() do."""
        found = self.history(epc)
        report = evidence.verify(self._build(epc, found), self._services.trust, expected_subject=epc)
        return Examined(found, report, self._services.intake.registry())

    def _build(self, epc: str, found: History) -> bytes:
        return evidence.build(self._services.reader, self._services.anchors, epc, found)


def file_name(epc: str) -> str:
    """A name for the download: the identifier's letters and digits, and nothing a header could trip over."""
    return f"evidence-{re.sub(r'[^A-Za-z0-9]+', '-', epc.rpartition('id.gs1.org')[2]).strip('-')[:80]}.json"
