"""Makes the dictionary by which ledger.store.packing packs statements: `python -m bench.dictionary FILE`.

From statements of our own making, seeded: every event type and much of the vocabulary, in the spellings that
partners use. A dictionary that is in use never changes, for stored parts need it: a better one is a new file.
"""

from __future__ import annotations

import random
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import zstandard

from keys import base64url

DICTIONARY_SIZE = 16_384
SAMPLES = 6_000
SEED = 20_261_120

_STEPS = [
    "accepting",
    "arriving",
    "assembling",
    "collecting",
    "commissioning",
    "consigning",
    "creating_class_instance",
    "cycle_counting",
    "decommissioning",
    "departing",
    "destroying",
    "disassembling",
    "dispensing",
    "encoding",
    "entering_exiting",
    "holding",
    "inspecting",
    "installing",
    "killing",
    "loading",
    "other",
    "packing",
    "picking",
    "receiving",
    "removing",
    "repackaging",
    "repairing",
    "replacing",
    "reserving",
    "retail_selling",
    "sampling",
    "sensor_reporting",
    "shipping",
    "staging_outbound",
    "stock_taking",
    "stocking",
    "storing",
    "transporting",
    "unassigning",
    "unloading",
    "unpacking",
    "void_shipping",
]
_DISPOSITIONS = [
    "active",
    "conformant",
    "container_closed",
    "container_open",
    "damaged",
    "destroyed",
    "dispensed",
    "disposed",
    "encoded",
    "expired",
    "in_progress",
    "in_transit",
    "inactive",
    "mismatch_instance",
    "needs_replacement",
    "no_pedigree_match",
    "non_sellable_other",
    "partially_dispensed",
    "recalled",
    "reserved",
    "retail_sold",
    "returned",
    "sellable_accessible",
    "sellable_not_accessible",
    "stolen",
    "unavailable",
    "unknown",
]
_ORIGINS = ("ledger.example/epcis", "log.example/2026", "ledger.example/bench", "epcis.example/staging")


def _vocabulary(source: random.Random, kind: str, word: str) -> str:
    return source.choice(
        (word, word, f"urn:epcglobal:cbv:{kind}:{word}", f"https://ref.gs1.org/cbv/{kind}-{word}")
    )


def _pack(source: random.Random, company: str) -> str:
    serial = source.randrange(10**11)
    return source.choice(
        (
            f"urn:epc:id:sgtin:{company}.011111.{serial}",
            f"https://id.gs1.org/01/0{company}11111{serial % 10}/21/{serial}",
            f"https://example.com/01/0{company}11111{serial % 10}/21/{serial}",
        )
    )


def _box(source: random.Random, company: str) -> str:
    serial = source.randrange(10**9)
    return source.choice(
        (f"urn:epc:id:sscc:{company}.1{serial:09}", f"https://id.gs1.org/00/0{company}{serial:09}5")
    )


def _quantities(source: random.Random, company: str) -> list[dict[str, Any]]:
    return [
        {
            "epcClass": f"urn:epc:class:lgtin:{company}.011111.lot{source.randrange(9999)}",
            "quantity": source.randrange(1, 5000),
            **source.choice(({}, {"uom": "KGM"}, {"uom": "LTR"})),
        }
    ]


def event(source: random.Random) -> bytes:
    """One event as a partner might send it."""
    company = f"{source.randrange(4_000_000, 5_000_000)}"
    place = f"urn:epc:id:sgln:{company}.{source.randrange(99_999):05}.0"
    kind = source.choice(
        ("ObjectEvent",) * 5
        + ("AggregationEvent",) * 3
        + ("TransactionEvent", "TransformationEvent", "AssociationEvent")
    )
    when = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(milliseconds=source.randrange(10**11))
    packs = [_pack(source, company) for _ in range(source.choice((1, 1, 2, 5, 10)))]
    made: dict[str, Any] = {
        "@context": source.choice(
            (
                "https://ref.gs1.org/standards/epcis/epcis-context.jsonld",
                ["https://ref.gs1.org/standards/epcis/epcis-context.jsonld"],
                [
                    "https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld",
                    {"example": "https://ns.example.com/epcis/"},
                ],
            )
        ),
        "type": kind,
    }
    if source.random() < 0.3:
        made["eventID"] = source.choice(
            (
                f"urn:uuid:{source.randbytes(4).hex()}-{source.randbytes(2).hex()}-4{source.randbytes(2).hex()[1:]}-a{source.randbytes(2).hex()[1:]}-{source.randbytes(6).hex()}",
                f"ni:///sha-256;{source.randbytes(32).hex()}?ver=CBV2.0",
            )
        )
    made["eventTime"] = when.isoformat(timespec=source.choice(("seconds", "milliseconds"))).replace(
        "+00:00", source.choice(("Z", "+00:00"))
    )
    made["eventTimeZoneOffset"] = source.choice(("+00:00", "+01:00", "+02:00", "-05:00", "+08:00"))
    if kind in ("ObjectEvent", "TransactionEvent"):
        made["epcList"] = packs
    elif kind in ("AggregationEvent", "AssociationEvent"):
        made["parentID"] = _box(source, company)
        made["childEPCs"] = packs
    else:
        made["inputEPCList"], made["outputEPCList"] = packs[:2], packs[2:] or packs[:1]
        made["transformationID"] = f"urn:epc:id:gdti:{company}.00001.{source.randrange(9999)}"
    if source.random() < 0.2:
        name = {
            "ObjectEvent": "quantityList",
            "TransactionEvent": "quantityList",
            "TransformationEvent": "inputQuantityList",
        }
        made[name.get(kind, "childQuantityList")] = _quantities(source, company)
    if kind != "TransformationEvent":
        made["action"] = source.choice(("ADD", "OBSERVE", "OBSERVE", "DELETE"))
    made["bizStep"] = _vocabulary(source, "BizStep", source.choice(_STEPS))
    if source.random() < 0.8:
        made["disposition"] = _vocabulary(source, "Disp", source.choice(_DISPOSITIONS))
    if source.random() < 0.8:
        made["readPoint"] = {"id": place}
    if source.random() < 0.6:
        made["bizLocation"] = {"id": place}
    if kind == "TransactionEvent" or source.random() < 0.3:
        made["bizTransactionList"] = [
            {
                "type": source.choice(("po", "desadv", "inv", "recadv")),
                "bizTransaction": f"urn:epcglobal:cbv:bt:{company}000001:{source.randrange(10**6)}",
            }
        ]
    if source.random() < 0.3:
        party = f"urn:epc:id:pgln:{company}.00001"
        made["sourceList"] = [{"type": "owning_party", "source": party}]
        made["destinationList"] = [
            {"type": source.choice(("owning_party", "possessing_party", "location")), "destination": party}
        ]
    if source.random() < 0.1:
        made["sensorElementList"] = [
            {
                "sensorMetadata": {
                    "time": made["eventTime"],
                    "deviceID": f"urn:epc:id:giai:{company}.{source.randrange(9999)}",
                },
                "sensorReport": [
                    {"type": "Temperature", "value": round(source.uniform(-20, 30), 1), "uom": "CEL"}
                ],
            }
        ]
    if made.get("action") == "ADD" and source.random() < 0.3:
        made["ilmd"] = {
            "cbvmda:lotNumber": f"LOT{source.randrange(9999)}",
            "cbvmda:itemExpirationDate": "2028-12-31",
            "cbvmda:countryOfOrigin": "DE",
        }
    return orjson.dumps(made)


def header(source: random.Random) -> bytes:
    """A protected header, its members in the order in which our client writes them."""
    return orjson.dumps(
        {
            "alg": source.choice(("Ed25519", "Ed25519", "Ed25519", "ES256")),
            "kid": base64url.encode(source.randbytes(32)),
            "typ": source.choice(("epcis-event+jws",) * 20 + ("epcis-document+jws", "key+jws", "anchor+jws")),
            "aud": source.choice(_ORIGINS),
            "nonce": base64url.encode(source.randbytes(16)),
        }
    )


def train() -> bytes:
    source = random.Random(SEED)
    samples = [header(source) + event(source) for _ in range(SAMPLES)]
    return zstandard.train_dictionary(DICTIONARY_SIZE, samples, dict_id=1).as_bytes()


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(train())
