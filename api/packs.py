"""Step 9 of 9, seen from the server: everything known about one product, and the server's own check of it.

The check runs verifier.evidence on the very bundle that is handed out, against what this server pins:
the page can then say nothing that the file does not prove.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from api.errors import NothingHere, RecordDamaged, Withheld
from api.reading import Reading, stored
from api.services import Services
from intake.authority import EVENT_TYP
from keys.errors import Malformed
from keys.registry import Registry
from ledger import entry as entry_format
from ledger.store.protocol import LedgerStore
from traceability.errors import NotGs1
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
        """The one name of what this identifier means: an EPC URN, a Digital Link, or what a label says.

        Raises Malformed "gs1.…".
        """
        try:
            return canonical(identifier)
        except NotGs1:
            if identifier[:4].lower() in ("urn:", "http"):
                raise
        # Loads the table of all application identifiers, which few callers need.
        from traceability.gs1.reading import read

        name = read(identifier).name
        if name is None:
            raise NotGs1("gs1.no-key", f"{identifier[:64]!r} holds no GS1 key, so it names nothing")
        return name

    def history(self, epc: str) -> History:
        """What the ledger's index holds about this product, through its aggregation.

        Raises Withheld where the public may not read events, NothingHere where there are none, and
        RecordDamaged where something altered can no longer be told from something that is not there:
        a recall made unreadable must not leave a clean history behind.
        """
        self._reading.head()
        if not self._reading.may_read_typ(EVENT_TYP, None):
            raise Withheld("history.withheld", "this ledger's policy does not open its events to you")
        watched = _Watched(self._services.reader)
        with stored():
            found = history(watched, epc, limit=self._services.limits.history_items_max)
        hidden = watched.altered - {item.seq for item in found.items}
        if hidden:
            raise RecordDamaged(
                "record.damaged",
                f"the index leads to entry {min(hidden)}, whose content is not what was recorded there",
            )
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
        with stored():
            return Examined(found, report, self._services.intake.registry())

    def _build(self, epc: str, found: History) -> bytes:
        with stored():
            return evidence.build(self._services.reader, self._services.anchors, epc, found)


class _Watched:
    """A reader that notes which of the statements it gave out are not those that the entries name."""

    def __init__(self, reader: LedgerStore) -> None:
        self._reader = reader
        self.altered: set[int] = set()

    def find_name(
        self, key: int, *, after: tuple[int, int] | None = None, limit: int
    ) -> list[tuple[int, int]]:
        return self._reader.find_name(key, after=after, limit=limit)

    def read_records(self, seqs: Sequence[int]) -> Sequence[tuple[bytes, bytes | None]]:
        records = self._reader.read_records(seqs)
        for seq, (entry, raw) in zip(seqs, records, strict=True):
            if raw is not None and not _is_as_recorded(seq, entry, raw):
                self.altered.add(seq)
        return records


def _is_as_recorded(seq: int, entry: bytes, raw: bytes) -> bool:
    try:
        parsed = entry_format.parse(entry)
    except Malformed:
        return False
    return parsed.seq == seq and parsed.statement == hashlib.sha256(raw).digest()


def file_name(epc: str) -> str:
    """A name for the download: the identifier's letters and digits, and nothing a header could trip over."""
    return f"evidence-{re.sub(r'[^A-Za-z0-9]+', '-', epc.rpartition('id.gs1.org')[2]).strip('-')[:80]}.json"
