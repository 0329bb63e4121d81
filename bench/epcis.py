"""`python -m bench.epcis`: validation, event hash and XML, each beside what others do, in one process.

Everything is measured over the same official examples, found at ../shared: ours against jsonschema-rs on
GS1's schema 2.0.1, against the PyPI reference of the event hash (with its contexts served from a file, for
it would fetch them), and against lxml alone. Prints a table and writes build/bench/epcis.json.
"""

from __future__ import annotations

import copy
import json
import logging
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

SHARED = Path(__file__).resolve().parents[2] / "shared" / "epcis"
RESULTS = Path("build/bench/epcis.json")
ROUNDS = 7  # the best one counts: others share the machine
REPEATED = 500  # events of the large document
CONTEXT_URLS = ("https://ref.gs1.org/standards/epcis/", "https://gs1.github.io/EPCIS/")

Row = dict[str, float | int | str]


def best_us(act: Callable[[], object], events: int, *, repeat: int = 5) -> float:
    """Microseconds an event, of the best of ROUNDS rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for _ in range(repeat):
            act()
        best = min(best, (time.perf_counter() - started) / repeat)
    return best / events * 1e6


def documents() -> list[Any]:
    """GS1's own JSON-LD examples. One repeats a member, which json takes and our door does not."""
    return [json.loads(path.read_bytes()) for path in sorted((SHARED / "gs1-examples").rglob("*.jsonld"))]


def large_document() -> dict[str, Any]:
    """Many events, each of five EPCs that no other names: nothing of them can be remembered."""
    (event,) = documents_named("Example_9.6.2-ObjectEvent.jsonld")["epcisBody"]["eventList"]
    events = []
    for number in range(REPEATED):
        serials = range(5 * number, 5 * number + 5)
        base = {
            "eventID": f"urn:uuid:{number}",
            "epcList": [f"urn:epc:id:sgtin:9521141.012345.{s}" for s in serials],
        }
        events.append({**event, **base})
    document: dict[str, Any] = documents_named("Example_9.6.2-ObjectEvent.jsonld")
    document["epcisBody"]["eventList"] = events
    return document


def documents_named(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(next((SHARED / "gs1-examples").rglob(name)).read_bytes())
    return found


def validation() -> list[Row]:
    """Ours finds more; both are given parsed values and both find all examples valid."""
    import jsonschema_rs

    from traceability.epcis.validate import validate_event
    from traceability.event_hash.documents import events_of

    text = (SHARED / "artefacts/epcis-json-schema-2.0.1.json").read_bytes()
    schema = jsonschema_rs.validator_for(json.loads(text))
    rows: list[Row] = []
    for name, values in (("GS1's examples", documents()), (f"{REPEATED} events in one", [large_document()])):
        pairs = [(e, d.get("@context")) for d in values for _, e in events_of(d)]

        def ours(pairs: list[tuple[Any, Any]] = pairs) -> None:
            for event, context in pairs:
                validate_event(event, document_context=context)

        def theirs(values: list[Any] = values) -> None:
            for value in values:
                schema.is_valid(value)

        rows.append(
            {
                "what": f"validate, {name}",
                "events": len(pairs),
                "ours_us": best_us(ours, len(pairs)),
                "other": "jsonschema-rs",
                "other_us": best_us(theirs, len(pairs)),
            }
        )
    return rows


def event_hash() -> list[Row]:
    """The reference cannot read all of them; both are timed over those it can."""
    from traceability.event_hash import hash_document
    from traceability.event_hash.documents import events_of

    reference = _reference()
    readable = []
    for document in documents():
        try:
            reference(document)
        except Exception:  # it fails in many ways: KeyError, TypeError, IndexError, JsonLdError
            continue
        readable.append(document)
    events = sum(len(list(events_of(d))) for d in readable)

    def ours() -> None:
        for document in readable:
            hash_document(document)

    def theirs() -> None:
        for document in readable:
            reference(document)

    big = large_document()
    return [
        {
            "what": f"event hash, {len(readable)} of {len(documents())} examples",
            "events": events,
            "ours_us": best_us(ours, events),
            "other": "epcis-event-hash-generator",
            "other_us": best_us(theirs, events, repeat=1),
        },
        {
            "what": f"event hash, {REPEATED} events of new EPCs",
            "events": REPEATED,
            "ours_us": best_us(lambda: hash_document(big), REPEATED, repeat=1),
        },
    ]


def _reference() -> Callable[[Any], object]:
    """The PyPI reference, without network: its own loader would fetch what it does not know."""
    logging.disable(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from epcis_event_hash_generator import hash_generator, json_to_py
        from pyld import jsonld

    known = json.loads((SHARED / "artefacts/epcis-context.jsonld").read_bytes())

    def load(url: str, _options: object = None) -> dict[str, Any]:
        if not url.startswith(CONTEXT_URLS):
            raise jsonld.JsonLdError(f"not fetched: {url}", "jsonld.LoadDocumentError")
        return {
            "contentType": "application/ld+json",
            "contextUrl": None,
            "documentUrl": url,
            "document": known,
        }

    jsonld.set_document_loader(load)

    def run(document: Any) -> object:
        # It writes into what it is given; the copy costs a hundredth of the rest.
        events = json_to_py.event_list_from_epcis_document_json(copy.deepcopy(document))
        return hash_generator.epcis_hashes_from_events(events)

    return run


def xml() -> list[Row]:
    """Reading with and without judging, beside lxml's own parsing; and writing."""
    from lxml import etree

    from traceability.epcis_xml import read_document, write_document

    texts = [path.read_bytes() for path in sorted((SHARED / "event-hash").glob("*.xml"))]
    big = large_document()
    large = write_document(
        big["epcisBody"]["eventList"], big["@context"], creation_date="2026-11-05T09:00:00Z"
    )
    rows: list[Row] = []
    for name, group in (("the vectors", texts), (f"{REPEATED} events in one", [large])):
        events = sum(len(read_document(text).events) for text in group)

        def parse(group: list[bytes] = group) -> None:
            for text in group:
                etree.fromstring(text)

        for what, validate in (("read and judge XML", True), ("read XML", False)):

            def read(group: list[bytes] = group, validate: bool = validate) -> None:
                for text in group:
                    read_document(text, validate=validate)

            rows.append(
                {
                    "what": f"{what}, {name}",
                    "events": events,
                    "ours_us": best_us(read, events),
                    "other": "lxml parsing alone",
                    "other_us": best_us(parse, events),
                }
            )
    rows.append(
        {
            "what": f"write XML, {REPEATED} events",
            "events": REPEATED,
            "ours_us": best_us(
                lambda: write_document(
                    big["epcisBody"]["eventList"], big["@context"], creation_date="2026-11-05T09:00:00Z"
                ),
                REPEATED,
                repeat=1,
            ),
        }
    )
    return rows


def main() -> int:
    """Run all, print a table, write RESULTS."""
    if not SHARED.is_dir():
        print(f"bench.epcis: the official examples are not at {SHARED}", file=sys.stderr)
        return 1
    rows = [*validation(), *event_hash(), *xml()]
    print(f"{'µs an event':44} {'events':>7} {'ours':>8} {'other':>9}  ")
    for row in rows:
        other = f"{row['other_us']:9.1f}  {row['other']}" if "other_us" in row else ""
        print(f"{row['what']:44} {row['events']:>7} {row['ours_us']:>8.1f} {other}")
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps({"python": sys.version.split()[0], "rows": rows}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
