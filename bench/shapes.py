"""What partners send in life: seven shapes of events, and how much of each.

Shares and sizes are assumptions of ours about serialised medicines: most events see or move a few things, a
quarter packs, some say how many of a lot there are, few carry sensor data, and once in a while a line
commissions a thousand packs at once.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from bench.load import Emitter, moment

CONTEXT = ["https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld"]


@dataclass(frozen=True, slots=True)
class Mix:
    """Shares of the shapes, in parts of any sum, and of what is sent twice."""

    observe: float = 30.0  # one to twenty packs seen
    ship: float = 15.0  # one to three pallets, with sender, receiver and despatch advice
    receive: float = 15.0  # the same, and how many of each lot was counted
    pack: float = 25.0  # 12 to 48 packs into a case
    sense: float = 5.0  # a pallet's temperature on its way: eight readings
    commission: float = 9.5  # ten packs with lot and expiry date
    commission1000: float = 0.5  # a thousand packs with lot and expiry date
    duplicates: float = 0.02  # share of statements that are resent a while after they were sent first

    def name(self) -> str:
        return "-".join(f"{getattr(self, member):g}" for member in self.__slots__)


class Partner:
    """Makes the events of one emitter, in rising time."""

    def __init__(self, emitter: Emitter, source: random.Random, start: datetime) -> None:
        self._prefix = emitter.company_prefix
        self._source = source
        self._now = start

    def _pack(self) -> str:
        return f"urn:epc:id:sgtin:{self._prefix}.011111.{self._source.randrange(10**11)}"

    def _pallet(self) -> str:
        return f"urn:epc:id:sscc:{self._prefix}.{self._source.randrange(10**10):010d}"

    def _place(self, number: int) -> str:
        return f"urn:epc:id:sgln:{self._prefix}.{number:05d}.0"

    def _event(self, kind: str, step: str, disposition: str, **members: Any) -> dict[str, Any]:
        self._now += timedelta(milliseconds=self._source.randrange(50, 500))
        return {
            "@context": CONTEXT,
            "type": kind,
            "eventTime": moment(self._now),
            "eventTimeZoneOffset": "+00:00",
            **members,
            "bizStep": step,
            "disposition": disposition,
            "readPoint": {"id": self._place(self._source.randrange(1, 9))},
            "bizLocation": {"id": self._place(1)},
        }

    def _parties(self) -> dict[str, Any]:
        other = f"urn:epc:id:sgln:{4_012_000 + self._source.randrange(50)}.00001.0"
        return {
            "bizTransactionList": [
                {
                    "type": "desadv",
                    "bizTransaction": f"urn:epcglobal:cbv:bt:{self._prefix}000014:{self._now:%j%H%M%S}",
                }
            ],
            "sourceList": [{"type": "owning_party", "source": self._place(1)}],
            "destinationList": [
                {"type": "owning_party", "destination": other},
                {"type": "location", "destination": other},
            ],
        }

    def observe(self) -> dict[str, Any]:
        packs = [self._pack() for _ in range(self._source.randint(1, 20))]
        return self._event("ObjectEvent", "storing", "in_progress", epcList=packs, action="OBSERVE")

    def ship(self) -> dict[str, Any]:
        pallets = [self._pallet() for _ in range(self._source.randint(1, 3))]
        members = {"epcList": pallets, "action": "OBSERVE", **self._parties()}
        return self._event("ObjectEvent", "shipping", "in_transit", **members)

    def receive(self) -> dict[str, Any]:
        lots = [
            {
                "epcClass": f"urn:epc:class:lgtin:{self._prefix}.011111.L{self._source.randrange(10**4)}",
                "quantity": self._source.randrange(1, 2000),
            }
            for _ in range(self._source.randint(1, 3))
        ]
        members = {"epcList": [self._pallet()], "action": "OBSERVE", "quantityList": lots, **self._parties()}
        return self._event("ObjectEvent", "receiving", "in_progress", **members)

    def pack(self) -> dict[str, Any]:
        packs = [self._pack() for _ in range(self._source.randint(12, 48))]
        members = {"parentID": self._pallet(), "childEPCs": packs, "action": "ADD"}
        return self._event("AggregationEvent", "packing", "in_progress", **members)

    def sense(self) -> dict[str, Any]:
        device = f"urn:epc:id:giai:{self._prefix}.{self._source.randrange(10**4)}"
        reports = [
            {
                "type": "Temperature",
                "value": round(self._source.uniform(2, 8), 1),
                "uom": "CEL",
                "time": moment(self._now - timedelta(minutes=10 * i)),
            }
            for i in range(8)
        ]
        sensed = {
            "sensorMetadata": {"time": moment(self._now), "deviceID": device},
            "sensorReport": reports,
        }
        members = {"epcList": [self._pallet()], "action": "OBSERVE", "sensorElementList": [sensed]}
        return self._event("ObjectEvent", "transporting", "in_transit", **members)

    def commission(self, count: int = 10) -> dict[str, Any]:
        first = self._source.randrange(10**11)
        packs = [f"urn:epc:id:sgtin:{self._prefix}.011111.{first + i}" for i in range(count)]
        born = {
            "cbvmda:lotNumber": f"L{self._source.randrange(10**4)}",
            "cbvmda:itemExpirationDate": "2028-05-31",
        }
        return self._event("ObjectEvent", "commissioning", "active", epcList=packs, action="ADD", ilmd=born)

    def commission1000(self) -> dict[str, Any]:
        return self.commission(1000)

    def events(self, mix: Mix) -> Iterator[bytes]:
        """Events of this mix, without end."""
        makers: list[Callable[[], dict[str, Any]]] = [
            self.observe,
            self.ship,
            self.receive,
            self.pack,
            self.sense,
            self.commission,
            self.commission1000,
        ]
        weights = [getattr(mix, maker.__name__) for maker in makers]
        while True:
            (maker,) = self._source.choices(makers, weights)
            yield orjson.dumps(maker())


def mixed(emitter: Emitter, mix: Mix, seed: int, part: int) -> Iterator[bytes]:
    """One emitter's events in one part of the load."""
    source = random.Random(f"{seed}/mixed/{emitter.party}/{part}")
    return Partner(emitter, source, datetime(2026, 1, 1 + part % 300 // 12, tzinfo=UTC)).events(mix)
