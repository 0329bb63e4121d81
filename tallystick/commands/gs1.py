"""Commands about GS1 identifiers, in any of their spellings. They need no server and no network."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click

from traceability.errors import IdentifierMalformed

if TYPE_CHECKING:
    from traceability.gs1.reading import Reading

ALL_VALID, NOT_ALL_VALID = 0, 1
SHOWN_LENGTH_MAX = (
    400  # characters of an input that are printed back; longer ones are shown around their fault
)
TITLE_WIDTH = 32

EXIT_CODES = "Exit codes: 0 all are valid; 1 at least one is not; 2 wrong usage."
EXAMPLES = """
\b
Examples:
  tallystick gs1 parse "(01)09521141123454(21)100"
  tallystick gs1 parse urn:epc:id:sgtin:9521141.012345.100 9521141123454
  tallystick gs1 parse --json - < labels.txt
"""

_FIXES = {
    "gs1.ai": "Look the number up in GS1's list; an AI has two to four digits.",
    "gs1.attribute": "Put it where GS1 allows it: qualifiers into the path, other data behind the ?.",
    "gs1.charset": "Use characters of GS1's set only; in a URN escape \" % & / < > ? and #.",
    "gs1.check-digit": "Look for a mistyped digit, or compute the check digit again.",
    "gs1.code": "Look the code up in its list.",
    "gs1.company-prefix": "Say how long the GS1 company prefix is; its owner, or GS1, knows.",
    "gs1.date": "Write dates as YYMMDD; only some may leave the day open, as 00.",
    "gs1.element-string": "Write each AI in brackets and its value behind it; a ( within a value is \\(.",
    "gs1.excluded": "Leave one of the two out.",
    "gs1.length": "Compare the value with the label; FNC1 must end what has no fixed length.",
    "gs1.pattern": "Give parts from the left and * for all the others.",
    "gs1.percent-encoding": "Write % only before two hexadecimal digits, as %2F for a slash.",
    "gs1.qualifier": "Keep qualifiers in GS1's order, and move other data behind a ? in the link.",
    "gs1.repeated": "Say it once.",
    "gs1.required": "Add the one that is missing, or read all symbols of the label together.",
    "gs1.scheme": "Use a pure identity EPC, as urn:epc:id:sgtin:prefix.item.serial, in lower case.",
    "gs1.urn": "Divide prefix, reference and serial with dots.",
}
_OLDER = "It follows an older edition of the standard: write {name}."


@click.group("gs1", context_settings={"help_option_names": ["-h", "--help"]})
def gs1() -> None:
    """Read, check and convert GS1 identifiers."""


@gs1.command("parse", epilog=EXAMPLES + "\n" + EXIT_CODES)
@click.argument("texts", nargs=-1, required=True, metavar="TEXT…")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line instead of text.")
def parse(texts: tuple[str, ...], as_json: bool) -> None:
    """Take identifiers apart, check every part, and say what they name.

    TEXT is an element string, scan data, a Digital Link, an EPC URN, or a GTIN or SSCC in digits; - reads
    them from standard input, one a line.
    """
    from traceability.gs1.reading import read

    all_valid = True
    for where, text in _inputs(texts):
        try:
            reading, fault = read(text), None
        except IdentifierMalformed as e:
            reading, fault = None, e
        all_valid &= fault is None
        if as_json:
            click.echo(json.dumps(_as_json(text, reading, fault), ensure_ascii=False))
        elif reading is not None:
            _print_reading(where, text, reading)
        elif fault is not None:
            _print_fault(where, text, fault, err=False)
    sys.exit(ALL_VALID if all_valid else NOT_ALL_VALID)


@gs1.command("convert", epilog=EXIT_CODES)
@click.argument("texts", nargs=-1, required=True, metavar="TEXT…")
@click.option(
    "--to",
    "target",
    required=True,
    type=click.Choice(["urn", "dl", "compressed-dl", "element-string", "scan"]),
    help="The spelling that you want: EPC URN, Digital Link, its compressed form, AIs in brackets, or GS1"
    " DataMatrix scan data.",
)
@click.option(
    "--company-prefix-length",
    type=click.IntRange(6, 12),
    metavar="N",
    help="How many digits the GS1 company prefix has. An EPC URN shows it; no other spelling does.",
)
@click.option("--stem", default="https://id.gs1.org", show_default=True, help="Where Digital Links lead.")
def convert(texts: tuple[str, ...], target: str, company_prefix_length: int | None, stem: str) -> None:
    """Print identifiers in another spelling, one a line; - reads them from standard input."""
    from traceability.gs1.reading import read

    all_valid = True
    for where, text in _inputs(texts):
        try:
            click.echo(_converted(read(text), target, company_prefix_length, stem))
        except IdentifierMalformed as fault:
            all_valid = False
            _print_fault(where, text, fault, err=True)
    sys.exit(ALL_VALID if all_valid else NOT_ALL_VALID)


def _converted(reading: Reading, target: str, company_prefix_length: int | None, stem: str) -> str:
    from traceability.gs1.compressed import compress
    from traceability.gs1.elements import render_bracketed, render_raw
    from traceability.gs1.links import render_link
    from traceability.gs1.to_urn import to_epc_urn

    if target == "urn" and reading.name is not None and not reading.elements:
        return reading.name
    if not reading.elements or (target == "urn" and reading.name is None):
        raise IdentifierMalformed(
            "gs1.no-key", f"this {reading.form.value} holds no GS1 key, so it stays as it is"
        )
    if target == "element-string":
        return render_bracketed(reading.elements)
    if target == "scan":
        return "]d2" + render_raw(reading.elements)
    if target == "dl":
        return render_link(reading.elements, stem)
    if target == "compressed-dl":
        return f"{stem.removesuffix('/')}/{compress(reading.elements)}"
    if company_prefix_length is None:
        raise IdentifierMalformed(
            "gs1.company-prefix",
            "an EPC URN shows how long the company prefix is: give --company-prefix-length",
        )
    assert reading.name is not None
    return to_epc_urn(reading.name, company_prefix_length)


def _inputs(texts: Iterable[str]) -> Iterator[tuple[str, str]]:
    """(where it stands, the text) of every input. Raises UsageError if standard input is empty."""
    for text in texts:
        if text != "-":
            yield "", text
            continue
        found = False
        with click.open_file("-", encoding="utf-8", errors="replace") as stream:
            for number, line in enumerate(stream, 1):
                if line.strip("\r\n"):
                    found = True
                    yield f"line {number}", line.rstrip("\r\n")
        if not found:
            raise click.UsageError("There is nothing on standard input.")


def _as_json(text: str, reading: Reading | None, fault: IdentifierMalformed | None) -> dict[str, Any]:
    from traceability.gs1.reading import name_despite_faults

    answer: dict[str, Any] = {
        "input": text.encode("utf-8", "replace").decode(),
        "valid": fault is None,
        "canonical": None,
        "elements": {},
        "fault": None,
    }
    if reading is not None:
        answer["canonical"] = reading.name
        for element in reading.elements:
            answer["elements"].setdefault(element.ai, element.value)
    if fault is not None:
        answer["canonical"], _ = name_despite_faults(text)
        start, length = fault.place or (None, None)
        answer["fault"] = {
            "code": fault.code,
            "detail": fault.detail.encode("utf-8", "replace").decode(),
            "start": start,
            "length": length,
            "fix": _fix(text, fault),
        }
    return answer


def _fix(text: str, fault: IdentifierMalformed) -> str:
    from traceability.gs1.reading import name_despite_faults

    name, is_older = name_despite_faults(text)
    if is_older:
        return _OLDER.format(name=name)
    return _FIXES.get(fault.code, "Compare it with the label or the master data that it came from.")


def _print_reading(where: str, text: str, reading: Reading) -> None:
    from traceability.gs1.ai_table import ai_table

    shown, _ = _visible(text, 0)
    click.echo((f"{where}: " if where else "") + click.style(shown, bold=True))
    click.echo("  " + click.style("valid", fg="green") + f"  {reading.form.value}")
    for element in reading.elements:
        title = ai_table()[element.ai].title
        click.echo(f"  {f'({element.ai})':<7}{title:<{TITLE_WIDTH}}  {element.value}")
    if reading.name is not None:
        click.echo(f"  {'names':<7}{reading.name}")


def _print_fault(where: str, text: str, fault: IdentifierMalformed, *, err: bool) -> None:
    start, length = fault.place or (0, 0)
    shown, at = _visible(text, start)
    label = f"{where}: " if where else ""
    click.echo(label + click.style(shown, bold=True), err=err)
    if length and at <= len(shown):
        marks = "^" * max(1, min(length, len(shown) - at))
        click.echo(" " * (len(label) + at) + click.style(marks, fg="red"), err=err)
    detail, _ = _visible(fault.detail, 0)
    click.echo("  " + click.style(fault.code, fg="red") + f"  {detail}", err=err)
    click.echo(f"  {_fix(text, fault)}", err=err)


def _visible(text: str, start: int) -> tuple[str, int]:
    """The text as a terminal may show it, one column a character, and where `start` is in it."""
    first = max(0, start - SHOWN_LENGTH_MAX // 2) if len(text) > SHOWN_LENGTH_MAX else 0
    window = text[first : first + SHOWN_LENGTH_MAX]
    shown = "".join(_picture(character) for character in window)
    head = "…" if first else ""
    tail = "…" if first + len(window) < len(text) else ""
    return head + shown + tail, len(head) + start - first


def _picture(character: str) -> str:
    if ord(character) < 0x20:
        return chr(0x2400 + ord(character))  # the picture of a control character: GS is ␝
    return character if character.isprintable() else "\ufffd"


COMMANDS: list[click.Command] = [gs1]
