"""Step 4 of 9: checks of any kind of value: texts, numbers, identifiers, words, lists, objects, extensions.

A check takes the value, its pointer and the run, and adds what is wrong to the run. The good case comes
first and in one line, and pointers into lists are written only where there is a fault: most events have
none, and this is on the way of every one of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from difflib import get_close_matches
from math import isfinite
from typing import Any

from traceability.epcis.formats import is_time, is_uri
from traceability.epcis.run import Run, escape, kind_of
from traceability.epcis.vocabulary import Vocabulary
from traceability.gs1.canonical import judge

Check = Callable[[Any, str, Run], None]

SUGGESTIONS_MAX = 100  # words looked for that resemble a wrong one: each costs as much as ten events

# CBV's words are bare in JSON; these spellings of them belong to XML.
_CBV_URI = re.compile(r"urn:epcglobal:cbv|https?://ns\.gs1\.org/cbv/")
_FIXES = {
    "gs1.check-digit": "Look for a mistyped digit, or compute the check digit again.",
    "gs1.company-prefix": "Put the first dot behind your GS1 company prefix of 6 to 12 digits.",
    "gs1.percent-encoding": "Write % only before two hexadecimal digits, as %2F for a slash.",
    "gs1.charset": "Use characters of GS1's set only, and in a URN escape \" % & / < > and ?.",
    "gs1.scheme": "Use a pure identity EPC, as urn:epc:id:sgtin:prefix.item.serial, in lower case.",
    "gs1.qualifier": "Keep qualifiers in GS1's order, and move other data behind a ? in the link.",
    "gs1.pattern": "Name one class: everything but the serial, and one * in its place.",
}
_GS1_FIX = "Compare the identifier with the label or the master data it came from."


def is_string(value: Any, pointer: str, run: Run) -> bool:
    if type(value) is str:
        return True
    run.add("epcis.kind", pointer, f"expected a string, not {kind_of(value)}", "Put the value in quotes.")
    return False


def check_string(value: Any, pointer: str, run: Run) -> None:
    is_string(value, pointer, run)


def check_uri(value: Any, pointer: str, run: Run) -> None:
    if type(value) is str and is_uri(value):
        return
    if is_string(value, pointer, run):
        run.add(
            "epcis.uri",
            pointer,
            f"{value[:64]!r} is not a URI",
            "Write an absolute URI, with other characters escaped.",
        )


def check_time(value: Any, pointer: str, run: Run) -> None:
    if type(value) is str and is_time(value):
        return
    if is_string(value, pointer, run):
        run.add(
            "epcis.time",
            pointer,
            f"{value[:40]!r} is not a date and time with a zone",
            "Write it as 2026-11-20T08:15:00.000+01:00.",
        )


def check_number(value: Any, pointer: str, run: Run) -> None:
    if type(value) is not int and (type(value) is not float or not isfinite(value)):
        run.add(
            "epcis.kind",
            pointer,
            f"expected a number, not {kind_of(value)}",
            "Write the number without quotes.",
        )


def check_boolean(value: Any, pointer: str, run: Run) -> None:
    if type(value) is not bool:
        run.add(
            "epcis.kind", pointer, f"expected true or false, not {kind_of(value)}", "Write it without quotes."
        )


def check_identifier(value: Any, pointer: str, run: Run) -> None:
    """A URI that, if it claims to be GS1's, keeps GS1's rules."""
    if not is_string(value, pointer, run):
        return
    name, code, detail = judge(value)
    if code:
        run.add(code, pointer, detail, _FIXES.get(code, _GS1_FIX))
    elif name[0] == "r":  # somebody's own name; a good GS1 identifier is always a URI
        check_uri(value, pointer, run)


def is_array(value: Any, pointer: str, run: Run) -> bool:
    if type(value) is list:
        return True
    run.add(
        "epcis.kind", pointer, f"expected an array, not {kind_of(value)}", "Put the value between [ and ]."
    )
    return False


def array_of(check: Check, *, items_min: int = 0, unique: bool = False) -> Check:
    def check_array(value: Any, pointer: str, run: Run) -> None:
        if not is_array(value, pointer, run):
            return
        if len(value) < items_min:
            run.add(
                "epcis.empty", pointer, "the array is empty", "Give at least one, or leave the field out."
            )
        for index, item in enumerate(value):
            check(item, f"{pointer}/{index}", run)
        if unique:
            _check_unique(value, pointer, run)

    return check_array


def _check_unique(value: list[Any], pointer: str, run: Run) -> None:
    try:
        if len(set(value)) == len(value):
            return
    except TypeError:  # something unhashable among them, which is a fault of its own
        pass
    seen: dict[str, int] = {}
    for index, item in enumerate(value):
        if isinstance(item, str) and (first := seen.setdefault(item, index)) != index:
            run.add(
                "epcis.duplicate",
                f"{pointer}/{index}",
                f"{item[:64]!r} stands at {first} already",
                "Name it once.",
            )


def identifiers(*, unique: bool) -> Check:
    def check_identifiers(value: Any, pointer: str, run: Run) -> None:
        if not is_array(value, pointer, run):
            return
        for index, item in enumerate(value):
            # The common case in one line: a good GS1 identifier. Whatever else it is, is looked at closely.
            if type(item) is not str or judge(item)[0][0] == "r":
                check_identifier(item, f"{pointer}/{index}", run)
        if unique and len(value) > 1:
            _check_unique(value, pointer, run)

    return check_identifiers


def word(vocabulary: Vocabulary, foreign: re.Pattern[str] = _CBV_URI) -> Check:
    """A bare word of the standard, or a URI that is nobody's other spelling of one."""
    words, what = vocabulary.words, vocabulary.what

    def check_word(value: Any, pointer: str, run: Run) -> None:
        if type(value) is str and value in words:
            return
        if not is_string(value, pointer, run):
            return
        if foreign.match(value):
            bare = vocabulary.word(value)
            run.add(
                "epcis.spelling",
                pointer,
                f"{value[:80]!r} is not how JSON spells a {what} of the standard",
                f"Write the bare word: {bare}."
                if bare in words
                else "Write the bare word, for instance shipping for urn:epcglobal:cbv:bizstep:shipping.",
            )
        elif not is_uri(value) or vocabulary.is_mistaken(value):
            run.add(
                "epcis.word",
                pointer,
                f"{value[:64]!r} is no {what} of the standard",
                f"Use a standard word ({_nearest(value, words, run)} …), or a URI for one of your own.",
            )

    return check_word


def _nearest(value: str, words: Collection[str], run: Run) -> str:
    """The standard's words that look most like this one, or its first ones."""
    ordered = sorted(words)
    if run.count > SUGGESTIONS_MAX:
        return ", ".join(ordered[:3])
    tail = re.split(r"[:/\-]", value[:64])[-1].lower()
    return ", ".join(get_close_matches(tail, ordered, 3, 0.6) or ordered[:3])


def object_of(
    checks: Mapping[str, Check], *, required: tuple[str, ...] = (), extensions: str, what: str
) -> Check:
    """An object with these members.

    extensions  "no", "named" (with a declared prefix), or "any" (where GS1's schema takes bare ones too)
    """

    def check_object(value: Any, pointer: str, run: Run) -> None:
        if type(value) is not dict:
            run.add(
                "epcis.kind",
                pointer,
                f"expected an object, not {kind_of(value)}",
                f"Write {what} as an object.",
            )
            return
        for name in required:
            if name not in value:
                run.add("epcis.required", pointer, f"{name} is missing in {what}", f"Say {name}.")
        for name, item in value.items():
            check = checks.get(name)
            if check is not None:
                check(item, f"{pointer}/{name}", run)
            elif extensions == "no":
                run.add(
                    "epcis.field",
                    f"{pointer}/{escape(name)}",
                    f"{what} has no field {name[:64]!r}",
                    f"Leave it out; {what} takes {', '.join(checks)} and nothing else.",
                )
            elif extensions == "named" or ":" in name:
                check_extension(name, item, pointer, run, what)

    return check_object


def check_extension(name: str, value: Any, pointer: str, run: Run, where: str) -> None:
    """A field that is not the standard's: its name and all names within need a declared namespace."""
    pointer = f"{pointer}/{escape(name)}"
    if ":" not in name:
        run.add(
            "epcis.field",
            pointer,
            f"{where} has no field {name[:64]!r}",
            "Correct the spelling, or give a field of your own a prefix, as example:field.",
        )
        return
    run.check_name(name, pointer)
    if type(value) is dict or type(value) is list:
        _check_nested(value, pointer, run)


def _check_nested(value: Any, pointer: str, run: Run) -> None:
    if type(value) is list:
        for index, item in enumerate(value):
            _check_nested(item, f"{pointer}/{index}", run)
    elif type(value) is dict:
        inner = run.nested(value["@context"]) if "@context" in value else run
        for name, item in value.items():
            here = f"{pointer}/{escape(name)}"
            if ":" in name:
                inner.check_name(name, here)
            if name != "@context":
                _check_nested(item, here, inner)
