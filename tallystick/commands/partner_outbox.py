"""Step 1 of 9, looked into: the outbox, for the person beside the packaging line."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from client.errors import InputMalformed
from client.outbox import STATES, Outbox, Row, State
from tallystick.commands.partner_console import (
    INCOMPLETE,
    INCONSISTENT,
    OK,
    json_option,
    line_fault_members,
    outbox_option,
    plainly,
    plural,
    say,
    say_json,
    table,
    with_options,
    write_new,
)


@click.group("outbox")
def outbox() -> None:
    """Look into the outbox: what waits, what was refused, receipts."""


@outbox.command("status")
@with_options(outbox_option, json_option)
@plainly
def status(outbox_path: str, as_json: bool) -> None:
    """How the outbox stands. Ends with 3 if it is stopped, 5 if the ledger contradicts itself."""
    with Outbox.open(Path(outbox_path)) as box:
        counts, alarm, largest = box.read_counts(), box.find_alarm(), box.find_largest_checkpoint()
        owed = box.find_growth_step() is not None
        members = {
            "ok": alarm is None,
            "outbox": str(box.path),
            "origin": box.origin,
            "url": box.find_setting("url"),
            "waiting": counts.waiting,
            "refused": counts.refused,
            "receipted": counts.receipted,
            "tree_size": largest.tree_size if largest else None,
            "growth_proved": not owed,
            "stopped": {"since": alarm.raised_at, "code": alarm.code, "detail": alarm.detail}
            if alarm
            else None,
        }
    if as_json:
        say_json(members)
    else:
        grown = "its growth is proved" if not owed else "the proof of its latest growth is still owed"
        rows = [
            ["outbox", str(members["outbox"])],
            ["ledger", f"{members['origin']} at {members['url'] or 'an address not told yet'}"],
            ["waiting", f"{counts.waiting:,}"],
            [
                "refused",
                f"{counts.refused:,}"
                + (" (tallystick outbox list --state refused)" if counts.refused else ""),
            ],
            ["receipts", f"{counts.receipted:,}, each checked"],
            ["its size", f"{largest.tree_size:,} entries so far; {grown}" if largest else "not seen yet"],
        ]
        table(rows)
        if alarm:
            say(
                click.style("STOPPED", fg="red", bold=True)
                + f"   since {alarm.raised_at}: {alarm.detail} [{alarm.code}]"
            )
            say("          Evidence: tallystick outbox export DIR. Once settled: tallystick outbox resume")
    raise SystemExit(OK if alarm is None else INCONSISTENT if alarm.code.startswith("log.") else INCOMPLETE)


@outbox.command("list", short_help="Everything in it, in order.")
@click.option("--state", type=click.Choice(STATES), help="Only these.")
@with_options(outbox_option)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@plainly
def list_(state: State | None, outbox_path: str, as_json: bool) -> None:
    """Everything in the outbox, in order: number, state, position on the ledger, where it came from."""
    with Outbox.open(Path(outbox_path)) as box:
        for page in _pages(box, state):
            if as_json:
                for row in page:
                    say_json(_row_members(row))
                continue
            table([_row_cells(row) for row in page])


def _pages(box: Outbox, state: State | None) -> Iterator[list[Row]]:
    after = 0
    while page := box.read_rows(state, after=after):
        yield page
        after = page[-1].position


def _row_cells(row: Row) -> list[str]:
    why = "; ".join(map(str, row.faults))
    seq = "-" if row.seq is None else str(row.seq)
    return [str(row.position), row.state, seq, row.source + (f"  {why}" if why else "")]


def _row_members(row: Row) -> dict[str, Any]:
    return {
        "position": row.position,
        "state": row.state,
        "seq": row.seq,
        "source": row.source,
        "typ": row.typ,
        "kid": row.kid,
        "digest": row.digest.hex(),
        "queued_at": row.queued_at,
        "receipted_at": row.receipted_at,
        "faults": line_fault_members(row.faults),
    }


@outbox.command("export", short_help="Write statements and receipts into files.")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@with_options(outbox_option, json_option)
@plainly
def export(folder: Path, outbox_path: str, as_json: bool) -> None:
    """Write each statement and its receipt into FOLDER, and the evidence of alarms.

    For the entry at position 7 of the ledger: 0000000007.jws and 0000000007.tlog-proof, which
    `tallystick verify` reads. Files that are there already are left alone.
    """
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    with Outbox.open(Path(outbox_path)) as box:
        for page in _pages(box, "receipted"):
            for row in page:
                statement, receipt, first = box.read_kept(row.position)
                assert receipt is not None
                # The receipt is for the statement that the ledger holds.
                _export_file(folder / f"{row.seq:010d}.jws", first or statement)
                _export_file(folder / f"{row.seq:010d}.tlog-proof", receipt)
                count += 1
        alarm = box.find_alarm()
        for name, data in (("first", alarm.first), ("second", alarm.second)) if alarm else ():
            if alarm and data is not None:
                _export_file(folder / f"alarm-{alarm.number}-{name}.txt", data)
    if as_json:
        say_json(
            {"ok": True, "folder": str(folder), "receipts": count, "alarm": alarm.code if alarm else None}
        )
        return
    say(f"{plural(count, 'statement')} with receipts in {folder}")
    if alarm:
        say(f"The evidence of {alarm.code} is there too: alarm-{alarm.number}-*.txt")


def _export_file(path: Path, data: bytes) -> None:
    if path.exists():
        if hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(data).digest():
            return
        raise InputMalformed(
            "export.exists", f"{path} exists and holds something else; choose another folder"
        )
    write_new(path, data)


@outbox.command("retry", short_help="Let what was refused wait again.")
@with_options(outbox_option)
@plainly
def retry(outbox_path: str) -> None:
    """Let refused statements wait again, as they are: after a key was registered, or a rule changed."""
    with Outbox.open(Path(outbox_path)) as box:
        count = box.put_back()
    say(
        f"{plural(count, 'statement')} waiting again; tallystick send sends them"
        if count
        else "Nothing was refused."
    )


@outbox.command("resume", short_help="Let a stopped outbox run again.")
@with_options(outbox_option)
@plainly
def resume(outbox_path: str) -> None:
    """Let a stopped outbox run again, after a person has looked at why it stopped. The evidence is kept."""
    with Outbox.open(Path(outbox_path)) as box:
        alarm = box.find_alarm()
        if alarm is None:
            say("The outbox was not stopped.")
            return
        count = box.lift_alarms()
    say(f"{plural(count, 'alarm')} lifted, the last thing known: {alarm.detail}")
