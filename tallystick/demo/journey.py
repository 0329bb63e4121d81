"""Step 1 of 9: what four parties have to report about twenty-four packs of one medicine.

Packs are made, checked, put into cases and the cases onto a pallet; the pallet travels with a temperature
logger; a distributor takes it apart and sends one case on; a pharmacy opens the case and dispenses one
pack. The events are such as real systems send: EPC URNs from some, Digital Links from others.

Numbers are from GS1's range for examples (prefix 952), so no label anywhere carries them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

from traceability.gs1 import canonical, check_digit

START = datetime(2026, 3, 2, 6, 0, tzinfo=UTC)
PACKS_PER_CASE = 6
CASES = 4
CONTEXT = ["https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld"]

_COMPANY = {"manufacturer": "9521141", "carrier": "9521002", "distributor": "9524567", "pharmacy": "9523333"}
_ITEM = "012345"  # indicator 0 (a single pack), item reference 12345
_TEMPERATURES = (4.8, 5.1, 5.6, 6.2, 5.9, 5.3)


@dataclass(frozen=True, slots=True)
class DemoParty:
    """One of the four who sign."""

    role: str
    id: str  # the party GLN as canonical Digital Link
    name: str


def _party(role: str, name: str) -> DemoParty:
    return DemoParty(role, canonical(f"urn:epc:id:pgln:{_COMPANY[role]}.00000"), name)


PARTIES = {
    party.role: party
    for party in (
        _party("manufacturer", "Asclepion Pharma"),
        _party("carrier", "Northway Cold Logistics"),
        _party("distributor", "Medivia Wholesale"),
        _party("pharmacy", "Linden Pharmacy"),
    )
}


def build_journey(seed: int = 1, *, start: datetime = START) -> list[tuple[str, dict[str, Any]]]:
    """(role, event) in the order in which it happened; more than sixty, the same for the same seed.

    start  aware; the journey takes about six days from here, so choose it in the past
    """
    # Serial numbers for show need to be the same again, not unguessable.
    return list(_Journey(Random(seed), start).events())  # noqa: S311


def dispensed_pack(journey: list[tuple[str, dict[str, Any]]]) -> str:
    """The canonical name of the one pack that reaches a consumer."""
    for _, event in reversed(journey):
        if event.get("bizStep") == "dispensing":
            return canonical(event["epcList"][0])
    raise ValueError("nobody dispenses a pack in this journey")


class _Journey:
    def __init__(self, random: Random, start: datetime) -> None:
        self._random = random
        self._now = start
        self._lot = f"L{random.randrange(10_000, 99_999)}"
        self._expiry = (start + timedelta(days=730)).strftime("%Y-%m-%d")
        serials = random.sample(range(10**11, 10**12), CASES * PACKS_PER_CASE)
        maker = _COMPANY["manufacturer"]
        self._packs = [f"urn:epc:id:sgtin:{maker}.{_ITEM}.{serial}" for serial in serials]
        first = random.randrange(1_000_000, 9_000_000)
        self._cases = [f"urn:epc:id:sscc:{maker}.000{first + i}" for i in range(CASES)]
        self._pallet = f"urn:epc:id:sscc:{maker}.100{first}"
        self._logger = f"urn:epc:id:giai:{_COMPANY['carrier']}.LOGGER{random.randrange(100, 999)}"
        self._order = {
            "type": "po",
            "bizTransaction": f"urn:epcglobal:cbv:bt:{_gln('distributor', '00000')}:PO-{first}",
        }
        self._notice = {
            "type": "desadv",
            "bizTransaction": f"urn:epcglobal:cbv:bt:{_gln('manufacturer', '00000')}:DA-{first}",
        }
        self._delivery = {
            "type": "desadv",
            "bizTransaction": f"urn:epcglobal:cbv:bt:{_gln('distributor', '00000')}:DA-{first + 9}",
        }

    def events(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for event in self._production():
            yield "manufacturer", event
        yield from self._first_leg()
        for event in self._distribution():
            yield "distributor", event
        yield from self._second_leg()
        for event in self._pharmacy():
            yield "pharmacy", event

    def _production(self) -> Iterator[dict[str, Any]]:
        maker = _COMPANY["manufacturer"]
        lot = {"epcClass": f"urn:epc:class:lgtin:{maker}.{_ITEM}.{self._lot}"}
        yield self._event(
            "TransformationEvent",
            ("creating_class_instance", "active", "manufacturer", "00011"),
            inputQuantityList=[
                {"epcClass": f"urn:epc:class:lgtin:{maker}.090001.API-77", "quantity": 1.2, "uom": "KGM"},
                {"epcClass": f"urn:epc:class:lgtin:{maker}.090002.EX-1203", "quantity": 14.5, "uom": "KGM"},
            ],
            outputQuantityList=[{**lot, "quantity": len(self._packs)}],
            ilmd=self._ilmd(),
        )
        line = ("commissioning", "active", "manufacturer", "00012")
        for pack in self._packs:
            yield self._event("ObjectEvent", line, action="ADD", epcList=[pack], ilmd=self._ilmd(), seconds=9)
        yield self._event(
            "ObjectEvent",
            ("inspecting", "conformant", "manufacturer", "00012"),
            action="OBSERVE",
            epcList=self._packs,
        )
        for index, case in enumerate(self._cases):
            packs = self._packs[index * PACKS_PER_CASE : (index + 1) * PACKS_PER_CASE]
            yield self._event("ObjectEvent", line, action="ADD", epcList=[case], seconds=40)
            packing = ("packing", "in_progress", "manufacturer", "00012")
            yield self._event(
                "AggregationEvent", packing, action="ADD", parentID=case, childEPCs=packs, seconds=90
            )
        yield self._event("ObjectEvent", line, action="ADD", epcList=[self._pallet])
        warehouse = ("packing", "in_progress", "manufacturer", "00013")
        yield self._event(
            "AggregationEvent", warehouse, action="ADD", parentID=self._pallet, childEPCs=self._cases
        )
        installing = ("installing", "in_progress", "manufacturer", "00013")
        yield self._event(
            "AssociationEvent", installing, action="ADD", parentID=self._pallet, childEPCs=[self._logger]
        )
        yield self._event(
            "ObjectEvent",
            ("staging_outbound", "in_progress", "manufacturer", "00013"),
            action="OBSERVE",
            epcList=[self._pallet],
            hours=14,
        )
        yield self._event(
            "ObjectEvent",
            ("shipping", "in_transit", "manufacturer", "00013"),
            action="OBSERVE",
            epcList=[self._pallet],
            bizTransactionList=[self._order, self._notice],
            **_from_to("manufacturer", "distributor"),
        )

    def _first_leg(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for step in ("accepting", "loading", "departing"):
            yield "carrier", self._leg(step, self._pallet)
        for temperature in _TEMPERATURES:
            yield "carrier", self._sensed(self._pallet, temperature)
        for step in ("arriving", "unloading"):
            yield "carrier", self._leg(step, self._pallet)

    def _distribution(self) -> Iterator[dict[str, Any]]:
        dock, store = "00021", "00022"
        case = self._cases[0]
        yield self._event(
            "ObjectEvent",
            ("receiving", "in_progress", "distributor", dock),
            action="OBSERVE",
            epcList=[self._pallet],
            bizTransactionList=[self._order, self._notice],
            **_from_to("manufacturer", "distributor"),
        )
        yield self._event(
            "TransactionEvent",
            ("accepting", "in_progress", "distributor", dock),
            action="ADD",
            bizTransactionList=[self._order],
            parentID=self._pallet,
            epcList=self._cases,
        )
        removing = ("removing", "in_progress", "distributor", dock)
        yield self._event(
            "AssociationEvent", removing, action="DELETE", parentID=self._pallet, childEPCs=[self._logger]
        )
        unpacking = ("unpacking", "in_progress", "distributor", dock)
        yield self._event(
            "AggregationEvent", unpacking, action="DELETE", parentID=self._pallet, childEPCs=self._cases
        )
        yield self._event(
            "ObjectEvent",
            ("storing", "sellable_not_accessible", "distributor", store),
            action="OBSERVE",
            epcList=self._cases,
        )
        yield self._event(
            "ObjectEvent",
            ("stock_taking", "sellable_not_accessible", "distributor", store),
            action="OBSERVE",
            epcList=self._cases,
            hours=70,
        )
        yield self._event(
            "ObjectEvent", ("picking", "in_progress", "distributor", store), action="OBSERVE", epcList=[case]
        )
        yield self._event(
            "ObjectEvent",
            ("shipping", "in_transit", "distributor", dock),
            action="OBSERVE",
            epcList=[case],
            bizTransactionList=[self._delivery],
            **_from_to("distributor", "pharmacy"),
        )

    def _second_leg(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for step in ("loading", "departing", "arriving"):
            yield "carrier", self._leg(step, self._cases[0])

    def _pharmacy(self) -> Iterator[dict[str, Any]]:
        shop = "00031"
        case, packs = self._cases[0], [canonical(pack) for pack in self._packs[:PACKS_PER_CASE]]
        # The pharmacy's software speaks Digital Link: other spellings of the same packs.
        yield self._event(
            "ObjectEvent",
            ("receiving", "in_progress", "pharmacy", shop),
            action="OBSERVE",
            epcList=[canonical(case)],
            bizTransactionList=[self._delivery],
            **_from_to("distributor", "pharmacy"),
        )
        yield self._event(
            "AggregationEvent",
            ("unpacking", "in_progress", "pharmacy", shop),
            action="DELETE",
            parentID=canonical(case),
            childEPCs=packs,
        )
        for pack in packs:
            yield self._event(
                "ObjectEvent",
                ("stocking", "sellable_accessible", "pharmacy", shop),
                action="OBSERVE",
                epcList=[pack],
                seconds=20,
            )
        yield self._event(
            "ObjectEvent",
            ("dispensing", "dispensed", "pharmacy", shop),
            action="OBSERVE",
            epcList=[self._random.choice(packs)],
            hours=26,
        )

    def _event(
        self,
        event_type: str,
        at: tuple[str, str, str, str],
        *,
        hours: float = 0,
        seconds: float = 0,
        **fields: Any,
    ) -> dict[str, Any]:
        """One event, a plausible while after the last. at: business step, disposition, whose place, which."""
        step, disposition, role, place = at
        wait = timedelta(hours=hours, seconds=seconds) or timedelta(minutes=self._random.randint(4, 40))
        self._now += wait + timedelta(milliseconds=self._random.randrange(1, 1000))
        location = f"urn:epc:id:sgln:{_COMPANY[role]}.{place}.0"
        return {
            "@context": CONTEXT,
            "type": event_type,
            "eventID": UUID(int=self._random.getrandbits(128), version=4).urn,
            "eventTime": self._now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "eventTimeZoneOffset": "+01:00",
            "bizStep": step,
            "disposition": disposition,
            "readPoint": {"id": location},
            "bizLocation": {"id": location},
            **fields,
        }

    def _leg(self, step: str, load: str) -> dict[str, Any]:
        return self._event(
            "ObjectEvent", (step, "in_transit", "carrier", "00041"), action="OBSERVE", epcList=[load]
        )

    def _sensed(self, load: str, celsius: float) -> dict[str, Any]:
        report = {"type": "Temperature", "deviceID": self._logger, "value": celsius, "uom": "CEL"}
        event = self._event(
            "ObjectEvent",
            ("sensor_reporting", "in_transit", "carrier", "00042"),
            action="OBSERVE",
            epcList=[load],
            hours=4,
        )
        element = {"sensorMetadata": {"time": event["eventTime"]}, "sensorReport": [report]}
        return {**event, "sensorElementList": [element]}

    def _ilmd(self) -> dict[str, Any]:
        return {
            "cbvmda:lotNumber": self._lot,
            "cbvmda:itemExpirationDate": self._expiry,
            "cbvmda:descriptionShort": "Demoxin 50 mg, 30 tablets",
        }


def _gln(role: str, place: str) -> str:
    digits = _COMPANY[role] + place
    return digits + check_digit(digits)


def _from_to(giver: str, taker: str) -> dict[str, Any]:
    return {
        "sourceList": [{"type": "possessing_party", "source": f"urn:epc:id:pgln:{_COMPANY[giver]}.00000"}],
        "destinationList": [
            {"type": "possessing_party", "destination": f"urn:epc:id:pgln:{_COMPANY[taker]}.00000"}
        ],
    }
