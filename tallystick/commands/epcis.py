"""Step 4 of 9, at the command line: is this EPCIS, in the other format, and what is its event hash?

No server and no ledger is asked. What is XML and what is JSON is told by the content, not by the name.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from keys.errors import Fault, Malformed
from tallystick.commands.json_position import find_positions, position_of

if TYPE_CHECKING:
    from traceability.epcis_xml import XmlDocument

INVALID = 1
FILE_SIZE_MAX = 16 * 1_048_576  # as much as the XML reader takes
SHOWN_MAX = 20  # faults of one file in text; --json prints all
EXCERPT_MAX = 100  # characters of a line that is shown

EXIT_CODES = "Exit codes: 0 all are valid; 1 one is not; 2 wrong usage."

files_argument = click.argument(
    "files",
    nargs=-1,
    required=True,
    metavar="FILE...",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object a file, a line each."
)


@dataclass
class Read:
    """One file, and what was found in it."""

    name: str
    data: bytes
    format: str = "JSON"
    value: Any = None  # the JSON document or event; that derived, if the file is XML
    xml: XmlDocument | None = None
    events: int = 0
    faults: list[Fault] = field(default_factory=list)

    def place(self, fault: Fault, found: dict[str, tuple[int, int]]) -> tuple[int, int]:
        """(line, column) from 1; 0 where there is none."""
        if isinstance(line := getattr(fault, "line", None), int):
            return line, 0
        return found.get(fault.pointer, (0, 0))

    def places(self) -> list[tuple[Fault, int, int]]:
        """Each fault with its line and column."""
        found: dict[str, tuple[int, int]] = {}
        if self.format == "JSON" and self.faults:
            text = self.data.decode("utf-8", "replace")
            found = find_positions(text, {fault.pointer for fault in self.faults})
            if self.value is None:
                found |= self._where_reading_stopped(text)
        return [(fault, *self.place(fault, found)) for fault in self.faults]

    def _where_reading_stopped(self, text: str) -> dict[str, tuple[int, int]]:
        try:
            json.loads(text)
        except json.JSONDecodeError as e:
            return {"": position_of(text, e.pos)}
        except (ValueError, RecursionError):
            pass
        return {}


def read_file(path: Path, *, now: datetime | None) -> Read:
    """Read and judge one file; whatever is wrong with it is in its faults."""
    name = "-" if str(path) == "-" else str(path)
    if name == "-":
        data = sys.stdin.buffer.read(FILE_SIZE_MAX + 1)
    else:
        with path.open("rb") as opened:
            data = opened.read(FILE_SIZE_MAX + 1)
    read = Read(name, data)
    start = data[:256].lstrip(b"\xef\xbb\xbf \t\r\n")
    try:
        if start[:1] == b"<" or start[:2] in (b"\xff\xfe", b"\xfe\xff"):
            _read_xml(read, now)
        else:
            _read_json(read, now)
    except Malformed as e:
        read.faults.append(e)
    return read


def _read_xml(read: Read, now: datetime | None) -> None:
    from traceability.epcis_xml import read_document

    read.format = "XML"
    document = read_document(read.data, size_max=FILE_SIZE_MAX, now=now)
    read.format = f"EPCIS {document.schema_version} XML"
    read.xml, read.value = document, document.as_json()
    read.events = len(document.events)
    read.faults.extend(document.faults)


def _read_json(read: Read, now: datetime | None) -> None:
    from keys.strict_json import loads
    from traceability.epcis.validate import validate
    from traceability.errors import EventUnhashable
    from traceability.event_hash.documents import events_of

    read.value = loads(read.data, size_max=FILE_SIZE_MAX)
    read.faults.extend(validate(read.value, now=now))
    try:
        read.events = sum(1 for _ in events_of(read.value))
    except EventUnhashable:  # of which the validator has said more
        read.events = 0


def _fault_json(read: Read) -> list[dict[str, Any]]:
    found = []
    for fault, line, column in read.places():
        entry: dict[str, Any] = {
            "pointer": fault.pointer,
            "code": fault.code,
            "detail": fault.detail,
            "fix": _fix(fault),
        }
        if line:
            entry["line"] = line
        if column:
            entry["column"] = column
        if xpath := getattr(fault, "xpath", ""):
            entry["xpath"] = xpath
        found.append(entry)
    return found


def _fix(fault: Fault) -> str:
    from traceability.epcis.validate import json_fix

    return getattr(fault, "fix", "") or json_fix(fault.code)


def _report(read: Read) -> dict[str, Any]:
    return {
        "file": read.name,
        "valid": not read.faults,
        "events": read.events,
        "faults": _fault_json(read),
    }


def _print_json(value: dict[str, Any], *, err: bool = False) -> None:
    click.echo(json.dumps(value, ensure_ascii=False), err=err)


def _print_faults(read: Read, *, err: bool = False) -> None:
    lines = read.data.splitlines()
    for fault, line, column in read.places()[:SHOWN_MAX]:
        where = read.name + (f":{line}" if line else "") + (f":{column}" if column else "")
        path = getattr(fault, "xpath", "") or fault.pointer
        click.echo(f"{click.style(where, bold=True)}: {click.style(fault.code, fg='red')} {path}", err=err)
        if 0 < line <= len(lines):
            _print_excerpt(lines[line - 1], line, column, err)
        click.echo(f"    {fault.detail}", err=err)
        if fix := _fix(fault):
            click.echo(f"    {click.style('Fix:', fg='green')} {fix}", err=err)
    if len(read.faults) > SHOWN_MAX:
        more = len(read.faults) - SHOWN_MAX
        click.echo(f"{read.name}: {more} more faults are not shown; --json prints all.", err=err)


def _print_excerpt(line: bytes, number: int, column: int, err: bool) -> None:
    """The line itself, cut around the column if it is long, and a mark below the column."""
    text = "".join(c if c.isprintable() else " " for c in line.decode("utf-8", "replace"))
    start = max(0, column - EXCERPT_MAX // 2) if len(text) > EXCERPT_MAX else 0
    shown = text[start : start + EXCERPT_MAX]
    if not column:
        start, shown = len(text) - len(text.lstrip()), text.strip()[:EXCERPT_MAX]
    gutter = f"    {number} | "
    click.echo(f"{gutter}{shown}", err=err)
    if column:
        click.echo(" " * (len(gutter) + column - 1 - start) + "^", err=err)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _each(files: Sequence[Path], act: Callable[[Read], bool]) -> None:
    """Read each file, act on it, and end with 1 unless it was good every time."""
    now = datetime.now(UTC)
    good = True
    for path in files:
        good = act(read_file(path, now=now)) and good
    if not good:
        raise SystemExit(INVALID)


@click.group(
    "epcis", short_help="Check, convert and hash EPCIS events, in JSON-LD or XML.", epilog=EXIT_CODES
)
def epcis() -> None:
    """Check, convert and hash EPCIS documents and events, without a server.

    Each FILE is JSON-LD or XML, an event, a document or a query document; - is standard input.
    """


@epcis.command("validate", short_help="Say what is wrong, on which line, and how to put it right.")
@files_argument
@json_option
def validate(files: tuple[Path, ...], as_json: bool) -> None:
    """Say what is wrong with each FILE, on which line, and how to put it right."""
    bad = [0]

    def act(read: Read) -> bool:
        if as_json:
            _print_json(_report(read))
        elif read.faults:
            _print_faults(read)
            faults, events = _count(len(read.faults), "fault"), _count(read.events, "event")
            click.echo(
                f"{read.name}: {click.style('not valid', fg='red')}, {faults}, {events} ({read.format})"
            )
        else:
            good = click.style("valid", fg="green")
            click.echo(f"{read.name}: {good}, {_count(read.events, 'event')} ({read.format})")
        bad[0] += bool(read.faults)
        return not read.faults

    try:
        _each(files, act)
    finally:
        if not as_json and len(files) > 1:
            click.echo(f"{len(files) - bad[0]} of {len(files)} files are valid.")


@epcis.command("hash", short_help="Print the event hash (CBV 2.0) of each event.")
@files_argument
@json_option
def hash_(files: tuple[Path, ...], as_json: bool) -> None:
    """Print the event hash of CBV 2.0 of each event in each FILE.

    Two events of one hash mean the same, in whatever format. The hash protects nothing: it does not see an
    error declaration, the lot before a serial, or an expiry date in a link.
    """
    from traceability.event_hash import hash_document

    def act(read: Read) -> bool:
        hashes: list[str | None] = []
        told = []
        read.faults = [] if read.value is not None else read.faults
        if read.value is not None:
            try:
                found = hash_document(
                    read.value,
                    from_xml=read.xml is not None,
                    ignored=read.xml.ignored if read.xml is not None else (),
                )
            except Malformed as e:
                read.faults.append(e)
                found = []
            for hashed in found:
                hashes.append(hashed.value)
                if hashed.fault is not None:
                    read.faults.append(hashed.fault)
                elif hashed.says_another:
                    told.append(hashed.pointer)
        if as_json:
            entry: dict[str, Any] = {"file": read.name, "hashes": hashes}
            if read.faults:
                entry["faults"] = _fault_json(read)
            if told:
                entry["otherEventID"] = told
            _print_json(entry)
        else:
            for value, pointer in zip(hashes, [h.pointer for h in found] if hashes else [], strict=True):
                if value is not None:
                    click.echo(f"{value}  {read.name}{'#' + pointer if pointer else ''}")
            for pointer in told:
                click.echo(f"{read.name}#{pointer}: its eventID says another hash than its own", err=True)
            _print_faults(read, err=True)
        return not read.faults

    _each(files, act)


@epcis.command("convert", short_help="Write it in the other format; XML 1.2 becomes 2.0.")
@files_argument
@click.option(
    "--to",
    "target",
    type=click.Choice(["json", "xml"]),
    help="The format to write: JSON-LD, or EPCIS 2.0 XML. Otherwise the one that FILE is not in.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, writable=True, allow_dash=True, path_type=Path),
    help="Write to this file instead of standard output; for one FILE only.",
)
@json_option
def convert(files: tuple[Path, ...], target: str | None, output: Path | None, as_json: bool) -> None:
    """Write each FILE in the other format, if it is valid. EPCIS 1.2 is read, and written as 2.0.

    What comes out is derived: a signature over the FILE says nothing about it. With --json, what was written
    stands in the object's member document, unless it went to the file that -o names.
    """
    if output is not None and len(files) > 1:
        raise click.UsageError("-o takes one FILE; several would overwrite each other.")
    printed = output is None or str(output) == "-"

    def act(read: Read) -> bool:
        to = target or ("json" if read.xml is not None else "xml")
        written = b""
        if not read.faults:
            try:
                written = _as_xml(read) if to == "xml" else _as_json(read)
            except Malformed as e:
                read.faults.append(e)
        if output is not None and not printed and not read.faults:
            output.write_bytes(written)
        if as_json:
            report = _report(read)
            if printed and not read.faults:
                report["document"] = read.value if to == "json" else written.decode()
            _print_json(report)
        elif read.faults:
            _print_faults(read, err=True)
            click.echo(f"{read.name}: not converted, {_count(len(read.faults), 'fault')}", err=True)
        elif printed:
            click.echo(written, nl=False)
        return not read.faults

    _each(files, act)


def _as_json(read: Read) -> bytes:
    return (json.dumps(read.value, ensure_ascii=False, indent=2) + "\n").encode()


def _as_xml(read: Read) -> bytes:
    from traceability.epcis_xml import write_document
    from traceability.event_hash.documents import events_of
    from traceability.master_data import read_json

    value = read.value
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    found = list(events_of(value))
    bare = [pointer for pointer, _ in found] == [""]
    records, _ = read_json(value)
    results = value.get("epcisBody", {}).get("queryResults", {}) if not bare else {}
    return write_document(
        [event for _, event in found],
        None if bare else value.get("@context"),
        creation_date=(None if bare else value.get("creationDate")) or now,
        kind="EPCISDocument" if bare else value.get("type", "EPCISDocument"),
        header={
            name: value[name]
            for name in ("sender", "receiver", "instanceIdentifier")
            if not bare and isinstance(value.get(name), str)
        },
        query={n: results[n] for n in ("queryName", "subscriptionID") if isinstance(results.get(n), str)},
        master_data=records,
        from_xml=read.xml is not None,
    )


COMMANDS = [epcis]
