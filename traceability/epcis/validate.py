"""Step 4 of 9: is this an EPCIS 2.0 event, or document? Before intake asks whether its sender may say so.

Everything that is wrong is reported, each fault with a JSON pointer, a stable code, a sentence, and how to
put it right. The rules are those of GS1's JSON schema 2.0.1, held to it in the tests, and what that schema
cannot say: check digits, malformed EPCs, negative quantities, undeclared prefixes, an aggregation without
a parent. docs/formats/epcis-event.md lists every difference.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from keys.envelope import PAYLOAD_SIZE_MAX
from keys.errors import Fault, Malformed
from keys.strict_json import loads
from traceability.epcis import accepted, fields
from traceability.epcis import vocabulary as words
from traceability.epcis.checks import check_extension
from traceability.epcis.documents import check_document, document_checks
from traceability.epcis.formats import parse_time
from traceability.epcis.holes import EVENT_TIME_AHEAD_MAX
from traceability.epcis.run import Run, kind_of
from traceability.errors import EventFault, EventRejected
from traceability.event import Event

__all__ = [
    "EVENT_TIME_AHEAD_MAX",
    "check_event",
    "read_event",
    "read_json",
    "validate",
    "validate_document",
    "validate_event",
]


def read_event(payload: bytes, *, now: datetime | None = None) -> Event:
    """The event that a statement of typ "epcis-event+jws" carries.

    payload  UTF-8 JSON, one bare event with its own @context
    now      as in validate_event

    Raises EventRejected, whose .faults has every reason.
    """
    value = read_json(payload)
    faults = validate_event(value, now=now)
    if faults:
        raise EventRejected(faults)
    return Event(value)


def read_json(payload: bytes) -> Any:
    """The value of a payload of I-JSON. Raises EventRejected."""
    try:
        return loads(payload, size_max=PAYLOAD_SIZE_MAX)
    except Malformed as e:
        raise EventRejected([EventFault(e.code, e.detail, e.pointer, json_fix(e.code))]) from e


_JSON_FIX = "Correct the text where it says."
_JSON_FIXES = {
    "json.size": f"Send several statements of at most {PAYLOAD_SIZE_MAX} bytes each.",
    "json.encoding": "Write UTF-8 without a byte order mark.",
    "json.depth": "Nest extensions less deeply.",
    "json.duplicate": "Name each member of an object once.",
    "json.number": "Write the number as a string, or with as many digits as a double keeps.",
    "json.string": "Leave that character out.",
}


def json_fix(code: str) -> str:
    """How to put right what a reader of JSON found wrong; "" for a code that is none of its."""
    return _JSON_FIXES.get(code, _JSON_FIX if code.startswith("json.") else "")


def validate_event(event: Any, *, now: datetime | None = None, document_context: Any = None) -> list[Fault]:
    """Every fault of one event, in document order; an empty list if there is none.

    event             as read by keys.strict_json
    now               aware; if given, an eventTime further ahead than EVENT_TIME_AHEAD_MAX is a fault
    document_context  the @context of the document around the event; without it, the event needs its own

    Pure, no I/O. About 3 µs for an event with five new EPCs like one found good before, else 12 µs.
    """
    frames = b"" if document_context is None else accepted.context_key(document_context)
    frame = None if frames is None or type(event) is not dict else accepted.find_frame(event, frames)
    if frame is not None and accepted.is_accepted(event, frame, now):
        return []
    run = Run(now=now) if document_context is None else Run(document_context, now=now)
    check_event(event, "", run)
    faults = run.finish()
    if frame is not None and not faults:
        accepted.remember(frame)
    return faults


def validate_document(document: Any, *, now: datetime | None = None) -> list[Fault]:
    """Every fault of an EPCISDocument or EPCISQueryDocument and of all its events, with pointers into it.

    document  as read by keys.strict_json
    now       as in validate_event

    Pure, no I/O. At most run.FAULTS_MAX faults, and one more that counts the rest.
    """
    run = Run(now=now)
    if type(document) is dict and "@context" in document:
        run = run.nested(document["@context"])
        run.frames = accepted.context_key(document["@context"])
    check_document(document, run, _DOCUMENT_CHECKS)
    return run.finish()


def validate(value: Any, *, now: datetime | None = None) -> list[Fault]:
    """Every fault of a document, or of a bare event: its type says which it is."""
    if type(value) is dict and value.get("type") in words.DOCUMENT_TYPES:
        return validate_document(value, now=now)
    return validate_event(value, now=now)


def check_event(event: Any, pointer: str, run: Run) -> None:
    """Add what is wrong with one event to a run.

    pointer  of the event in its document; empty for a bare one

    A rule may look at one field, or at what is there and what is empty. It must not compare what fills the
    lists of EPCs, ids or times with anything: accepted.py and familiar.py rest on it.
    """
    if type(event) is not dict:
        run.add(
            "epcis.object",
            pointer,
            f"an event is a JSON object, not {kind_of(event)}",
            "Send one event object.",
        )
        return
    frame = None if run.frames is None else accepted.find_frame(event, run.frames)
    if frame is None:
        _check_exactly(event, pointer, run)
    elif not accepted.is_accepted(event, frame, run.now):
        before = run.count
        _check_exactly(event, pointer, run)
        if run.count == before:
            accepted.remember(frame)


def _check_exactly(event: dict[str, Any], pointer: str, outer: Run) -> None:
    run = outer.nested(event["@context"]) if "@context" in event else outer
    event_type = event.get("type")
    checks = fields.CHECKS.get(event_type) if type(event_type) is str else None
    foreign = checks is None
    if checks is None:
        checks = fields.ANY_CHECKS
        _check_foreign_type(event, pointer, run)
    for name, value in event.items():
        check = checks.get(name)
        if check is not None:
            check(value, f"{pointer}/{name}", run)
        elif not foreign or ":" in name:
            check_extension(name, value, pointer, run, _with_article(event_type))
    _check_required(event, pointer, run, not pointer and outer.is_bare)
    rule = _RULES.get(event_type) if type(event_type) is str else None
    if rule is not None:
        rule(event, pointer, run)
    if run.now is not None:
        _check_future(event, pointer, run, run.now)


def _check_foreign_type(event: Mapping[str, Any], pointer: str, run: Run) -> None:
    """EPCIS lets others define event types, under names of their own namespace."""
    event_type = event.get("type")
    if isinstance(event_type, str) and ":" in event_type:
        run.check_name(event_type, f"{pointer}/type")
        return
    if event_type is None:
        seen = "the event has no type"
    elif isinstance(event_type, str):
        seen = f"{event_type[:64]!r} is no event type"
    else:
        seen = f"the type is {kind_of(event_type)}"
    run.add(
        "epcis.type",
        f"{pointer}/type" if "type" in event else pointer,
        seen,
        f"Use one of {', '.join(words.EVENT_TYPES)}.",
    )


def _with_article(event_type: Any) -> str:
    return f"{'a' if event_type in ('TransactionEvent', 'TransformationEvent') else 'an'} {event_type}"


def _check_required(event: Mapping[str, Any], pointer: str, run: Run, context_required: bool) -> None:
    for name in ("eventTime", "eventTimeZoneOffset"):
        if name not in event:
            run.add(
                "epcis.required", pointer, f"{name} is missing", f"Say {name}; every EPCIS event has one."
            )
    if context_required and "@context" not in event:
        run.add(
            "epcis.context",
            pointer,
            "the event has no @context, which a bare event needs",
            f'Add "@context": "{words.CONTEXT_URL_STEM}2.0.0/epcis-context.jsonld".',
        )


def _require_action(event: Mapping[str, Any], pointer: str, run: Run) -> None:
    if "action" not in event:
        run.add("epcis.required", pointer, "action is missing", "Say ADD, OBSERVE or DELETE.")


def _has(event: Mapping[str, Any], *names: str) -> bool:
    # What is there and no list has a fault of its own already.
    return any(name in event and event[name] != [] for name in names)


def _rule_object(event: Mapping[str, Any], pointer: str, run: Run) -> None:
    _require_action(event, pointer, run)
    if event.get("action") in ("OBSERVE", "DELETE") and "ilmd" in event:
        run.add(
            "epcis.ilmd",
            f"{pointer}/ilmd",
            f"ilmd describes what begins to exist, but the action is {event['action']}",
            "Give ilmd only with action ADD.",
        )
    if _has(event, "epcList", "quantityList"):
        return
    # An empty epcList beside a reading says that the reading is of a place: GS1's own examples write it so.
    if not (_has(event, "sensorElementList") and ("readPoint" in event or "epcList" in event)):
        run.add(
            "epcis.what",
            pointer,
            "the event is about nothing: no epcList, no quantityList, and no sensor reading with a readPoint",
            "Name the objects in epcList or quantityList.",
        )


def _rule_parts(event: Mapping[str, Any], pointer: str, run: Run) -> None:
    _require_action(event, pointer, run)
    action, event_type = event.get("action"), event["type"]
    if action != "DELETE" and not _has(event, "childEPCs", "childQuantityList"):
        run.add(
            "epcis.what",
            pointer,
            "the event has neither childEPCs nor childQuantityList",
            "Name at least one child.",
        )
    if "parentID" not in event and (event_type == "AssociationEvent" or action in ("ADD", "DELETE")):
        run.add(
            "epcis.parent",
            pointer,
            f"{_with_article(event_type)} with action {action} has no parentID",
            "Name the parent; only an OBSERVE of an aggregation may leave it out.",
        )


def _rule_transaction(event: Mapping[str, Any], pointer: str, run: Run) -> None:
    _require_action(event, pointer, run)
    if "bizTransactionList" not in event:
        run.add("epcis.required", pointer, "bizTransactionList is missing", "Name the business transaction.")
    about = _has(event, "epcList", "quantityList") or ("epcList" in event and "parentID" in event)
    if not about and event.get("action") != "DELETE":
        run.add(
            "epcis.what",
            pointer,
            "the event has neither epcList nor quantityList",
            "Name the objects of the transaction.",
        )


def _rule_transformation(event: Mapping[str, Any], pointer: str, run: Run) -> None:
    inputs = _has(event, "inputEPCList", "inputQuantityList")
    outputs = _has(event, "outputEPCList", "outputQuantityList")
    if not ((inputs and outputs) or ((inputs or outputs) and "transformationID" in event)):
        run.add(
            "epcis.what",
            pointer,
            "a transformation has inputs and outputs; this one lacks "
            + ("both" if not (inputs or outputs) else "one side"),
            "Name both, or give a transformationID that joins several events.",
        )


_RULES = {
    "ObjectEvent": _rule_object,
    "AggregationEvent": _rule_parts,
    "AssociationEvent": _rule_parts,
    "TransactionEvent": _rule_transaction,
    "TransformationEvent": _rule_transformation,
}


def _check_future(event: Mapping[str, Any], pointer: str, run: Run, now: datetime) -> None:
    text = event.get("eventTime")
    moment = parse_time(text) if isinstance(text, str) else None
    if moment is not None and moment - now > EVENT_TIME_AHEAD_MAX:
        run.add(
            "epcis.time.future",
            f"{pointer}/eventTime",
            f"the event says {text}, which is still to come (now is {now:%Y-%m-%dT%H:%M:%SZ})",
            "Set the clock that wrote it, or send the event once it has happened.",
        )


_DOCUMENT_CHECKS = document_checks(check_event)
