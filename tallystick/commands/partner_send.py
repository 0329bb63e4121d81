"""Step 1 of 9: sign and send. What a packaging line's computer runs, all day."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import click

from client.errors import InputMalformed, LineFault
from client.http import LedgerDoor, Patience, require_url
from client.inputs import find_files, read_drafts
from client.outbox import ENQUEUE_CHUNK, Draft, Outbox, Waiting
from client.receipts import ReceiptChecker, parse_log_keys
from client.submit import BATCH_COUNT_MAX, Sender, Summary, Watch
from keys import envelope
from keys.algorithms import PrivateKey
from tallystick.commands.partner_console import (
    INCOMPLETE,
    KEY_SCHEMES,
    OK,
    describe,
    exit_code,
    fault_members,
    json_option,
    key_option,
    line_fault_members,
    load_key,
    log_key_option,
    meter,
    origin_option,
    outbox_option,
    passphrase_option,
    plainly,
    plural,
    remark,
    require_option,
    say,
    say_json,
    span,
    url_option,
    with_options,
    write_new,
)
from tallystick.commands.partner_documents import split_drafts, typ_of_options
from tallystick.commands.partner_keys import find_origin

REFUSED_SHOWN_MAX = 20
FAULTS_SHOWN_MAX = 10  # of one statement
_LOOPBACK = ("http://127.", "http://localhost", "http://[::1]")
typ_option = click.option(
    "--typ", default="epcis-event+jws", show_default=True, help="The class of what is signed."
)
document_option = click.option(
    "--document", is_flag=True, help="Sign whole EPCIS documents (.json, .jsonld, .xml) as they are."
)
split_option = click.option(
    "--split", is_flag=True, help="Sign each event of a document by itself, written as JSON-LD."
)


# sign --------------------------------------------------------------------------------------------


@click.command("sign")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option(
    "--out",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Put the signed files into this folder.",
)
@with_options(
    typ_option, document_option, split_option, log_key_option, origin_option, key_option, passphrase_option
)
@plainly
def sign(
    paths: tuple[str, ...],
    folder: Path | None,
    typ: str,
    document: bool,
    split: bool,
    log_keys: tuple[str, ...],
    origin: str | None,
    key_uri: str | None,
    passphrase_source: str | None,
) -> None:
    """Sign events or documents without sending them.

    PATH is a file, a folder, or '-' for one event a line. Beside each 7.json comes a 7.jws, which
    `tallystick send` takes on any other machine; what was read from standard input is printed.
    A file that was signed before is left as it is.
    """
    ledger = require_option(
        find_origin(origin, log_keys),
        "--log-key or --origin",
        "TALLYSTICK_LOG_KEY",
        "which ledger this is for",
    )
    typ, _ = options = typ_of_options(typ, document, split)
    key = load_key(key_uri, passphrase_source)
    written = known = 0
    for name in paths:
        if name == "-":
            for draft in _drafts(["-"], options):
                sys.stdout.buffer.write(_sign(draft, key, typ, ledger) + b"\n")
            continue
        for path in find_files([name]):
            if path.suffix.lower() == ".jws":
                continue
            drafts = list(_drafts([str(path)], options))
            target = (folder or path.parent) / f"{path.stem}.jws"
            if _is_signed(target, drafts, key, typ, ledger):
                known += 1
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            write_new(target, b"".join(_sign(draft, key, typ, ledger) + b"\n" for draft in drafts))
            written += 1
    before = f"{plural(known, 'file')} had been signed before" if known else ""
    if not written and known:
        remark(f"Nothing to sign: {before}")
    elif written:
        before = f"; {before}" if before else ""
        remark(f"{plural(written, 'file')} signed for {ledger} by key {key.public.kid}{before}")


def _drafts(paths: Iterable[str], options: tuple[str, str]) -> Iterator[Draft]:
    typ, what = options
    drafts = read_drafts(paths, sys.stdin.buffer, typ=what)
    return drafts if what == typ else split_drafts(drafts)


def _sign(draft: Draft, key: PrivateKey, typ: str, origin: str) -> bytes:
    if draft.payload is None:
        raise InputMalformed("input.signed", f"{draft.source} is signed already")
    return envelope.sign(key, typ=typ, aud=origin, payload=draft.payload)


def _is_signed(target: Path, drafts: list[Draft], key: PrivateKey, typ: str, origin: str) -> bool:
    """Whether the file holds exactly these events, signed by this key for this ledger."""
    if not target.exists():
        return False
    signed = [envelope.parse(line) for line in target.read_bytes().splitlines() if line]
    ours = [(draft.payload, key.public.kid, typ, (origin,)) for draft in drafts]
    if [(s.payload, s.kid, s.typ, s.aud) for s in signed] != ours:
        raise InputMalformed(
            "sign.exists", f"{target} exists and holds something else; move it away, or choose another --out"
        )
    return True


# send --------------------------------------------------------------------------------------------


@click.command("send")
@click.argument("paths", nargs=-1, metavar="[PATH...]")
@with_options(
    url_option,
    log_key_option,
    origin_option,
    key_option,
    passphrase_option,
    outbox_option,
    typ_option,
    document_option,
    split_option,
)
@click.option("--queue-only", is_flag=True, help="Sign and keep now, send another time.")
@click.option(
    "--patience",
    "patience_s",
    type=click.FloatRange(0),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to keep asking a ledger that does not answer; 0 asks once.",
)
@click.option(
    "--batch",
    type=click.IntRange(1, 10_000),
    default=BATCH_COUNT_MAX,
    show_default=True,
    metavar="COUNT",
    help="How many statements go in one request.",
)
@json_option
@plainly
def send(
    paths: tuple[str, ...],
    url: str | None,
    log_keys: tuple[str, ...],
    origin: str | None,
    key_uri: str | None,
    passphrase_source: str | None,
    outbox_path: str,
    typ: str,
    document: bool,
    split: bool,
    queue_only: bool,
    patience_s: float,
    batch: int,
    as_json: bool,
) -> None:
    """Sign events or documents, keep them, send them, and check the receipts.

    PATH is an event (.json), a document with --document or --split (.json, .xml), signed statements
    (.jws), one event a line (.jsonl), a folder of these, or '-' for standard input. Without PATH, what is
    still waiting goes out. Everything is kept in the outbox before it leaves, is signed once only, and goes
    out in order; run the same command again whenever it was interrupted. The outbox remembers --url,
    --log-key and --key.

    Ends with 0 if everything has its receipt, 1 if a receipt is false, 2 for bad input, 3 if something
    still waits or was refused, 5 if the ledger contradicts itself.
    """
    options = typ_of_options(typ, document, split)
    with _open_outbox(Path(outbox_path), find_origin(origin, log_keys), create=bool(paths)) as outbox:
        told = _Settings(outbox, url=url, log_keys="\n".join(log_keys), key_uri=_absolute(key_uri))
        told.remember(replace=False)
        if not queue_only:
            _require_ways(told)
        new, known, refused_before = _enqueue(outbox, paths, options, told.find("key_uri"), passphrase_source)
        if not as_json and paths:
            say(_queued_line(new, known, outbox))
        if queue_only:
            if as_json:
                say_json({"ok": True, "queued": {"new": new, "known": known}, "waiting": _waiting(outbox)})
            return
        refused: list[tuple[str, list[LineFault]]] = []
        summary = _send(outbox, told, patience_s, batch, refused, as_json=as_json)
        told.remember(replace=summary.ended_by is None)
        if as_json:
            say_json(_summary_members(outbox, summary, (new, known, refused_before), refused))
        else:
            _report(outbox, summary, refused)
            if refused_before:
                say(
                    f"{plural(refused_before, 'of these events was', 'of these events were')} "
                    "refused before: tallystick outbox list --state refused; tallystick outbox retry"
                )
    if summary.ended_by is not None:
        raise SystemExit(exit_code(summary.ended_by))
    raise SystemExit(INCOMPLETE if summary.refused or refused_before else OK)


def _open_outbox(path: Path, origin: str | None, *, create: bool) -> Outbox:
    if create and origin is None and not path.exists():
        require_option(
            None,
            "--log-key or --origin",
            "TALLYSTICK_LOG_KEY",
            f"the new outbox {path} must know for which ledger",
        )
    if not create and not path.exists():
        return Outbox.open(path)
    return Outbox.open(path, origin=origin)


class _Settings:
    """What this call was told, and otherwise what the outbox remembers of earlier calls."""

    def __init__(self, outbox: Outbox, **told: str | None) -> None:
        self._outbox = outbox
        self._told = {name: value for name, value in told.items() if value}
        if url := self._told.get("url"):
            require_url(url)
        if vkeys := self._told.get("log_keys"):
            parse_log_keys(vkeys.split("\n"))

    def find(self, name: str) -> str | None:
        return self._told.get(name) or self._outbox.find_setting(name)

    def remember(self, *, replace: bool) -> None:
        """Keep what is new; keep it instead of something else only once it has proved right."""
        for name, value in self._told.items():
            if replace or self._outbox.find_setting(name) is None:
                self._outbox.remember_setting(name, value)


def _absolute(key_uri: str | None) -> str | None:
    """A key file's name that still means the same from another folder."""
    if not key_uri or key_uri.partition(":")[0] in KEY_SCHEMES - {"file"}:
        return key_uri
    return f"file:{Path(key_uri.removeprefix('file:')).absolute()}"


def _require_ways(told: _Settings) -> None:
    require_option(told.find("url"), "--url", "TALLYSTICK_URL", "where the ledger is")
    require_option(
        told.find("log_keys"),
        "--log-key",
        "TALLYSTICK_LOG_KEY",
        "without the ledger's verifier key, which its operator publishes, no receipt can be checked",
    )


def _enqueue(
    outbox: Outbox,
    paths: tuple[str, ...],
    options: tuple[str, str],
    key_uri: str | None,
    passphrase_source: str | None,
) -> tuple[int, int, int]:
    """How many are new, how many were known, and how many of those were refused before."""
    for _ in _drafts([name for name in paths if name != "-"], options):
        pass  # one bad file in a folder of a thousand: better said before the first is signed
    keys: list[PrivateKey] = []

    def find_key() -> PrivateKey:
        if not keys:
            keys.append(load_key(key_uri, passphrase_source))
        return keys[0]

    drafts = _drafts(paths, options)
    new = known = refused = 0
    while chunk := list(islice(drafts, ENQUEUE_CHUNK)):
        for queued in outbox.enqueue(chunk, typ=options[0], find_key=find_key):
            new, known = (new + 1, known) if queued.is_new else (new, known + 1)
            refused += queued.state == "refused"
    return new, known, refused


def _send(
    outbox: Outbox,
    told: _Settings,
    patience_s: float,
    batch: int,
    refused: list[tuple[str, list[LineFault]]],
    *,
    as_json: bool,
) -> Summary:
    url, log_keys = told.find("url") or "", (told.find("log_keys") or "").split("\n")
    if not as_json and url.startswith("http://") and not url.startswith(_LOOPBACK):
        remark(f"Note: {url} is not encrypted on the way; others can read what you send (use https).")
    total = _waiting(outbox)
    with LedgerDoor(url) as door, meter(total, f"sending to {url}", quiet=as_json) as shown:
        watch = Watch(
            on_progress=lambda so_far: shown.show(so_far.receipted + so_far.refused),
            on_refused=lambda waiting, faults: refused.append(_refusal(waiting, list(faults))),
            on_wait=shown.wait,
        )
        checker = ReceiptChecker(parse_log_keys(log_keys), outbox.origin)
        sender = Sender(
            outbox, door, checker, patience=Patience(patience_s), batch_count_max=batch, watch=watch
        )
        return sender.run()


def _refusal(waiting: Waiting, faults: list[LineFault]) -> tuple[str, list[LineFault]]:
    return waiting.source, faults


def _waiting(outbox: Outbox) -> int:
    return outbox.read_counts().waiting


def _queued_line(new: int, known: int, outbox: Outbox) -> str:
    if not new and not known:
        return "No event was handed in."
    if not new:
        return f"{plural(known, 'event')} in {outbox.path} before; nothing was signed again"
    before = f" ({known:,} more were there before)" if known else ""
    return f"{plural(new, 'event')} kept in {outbox.path}{before}"


def _report(outbox: Outbox, summary: Summary, refused: list[tuple[str, list[LineFault]]]) -> None:
    if summary.receipted:
        held = f", {summary.duplicates:,} of them held by the ledger before" if summary.duplicates else ""
        say(
            click.style("sent     ", fg="green")
            + f"{plural(summary.receipted, 'event')}, each with a checked receipt{held}: "
            + f"{span(summary.seq_first, summary.seq_last)} of {outbox.origin}"
        )
    for source, faults in refused[:REFUSED_SHOWN_MAX]:
        first, *rest = refused_lines(source, faults)
        say(click.style("refused  ", fg="yellow") + first)
        for line in rest:
            say(f"         {line}")
    if len(refused) > REFUSED_SHOWN_MAX:
        say(f"         and {len(refused) - REFUSED_SHOWN_MAX:,} more: tallystick outbox list --state refused")
    if refused:
        say("         set aside; the rest goes on without them")
    if summary.growth_unproved:
        remark(
            f"The ledger did not prove this time that it only added: {summary.growth_unproved}. "
            "It will be asked again."
        )
    waiting = _waiting(outbox)
    if summary.ended_by is not None:
        say(click.style("waiting  ", fg="yellow") + f"{plural(waiting, 'event')}, safe in {outbox.path}")
        click.echo(click.style("tallystick: ", fg="red", bold=True) + describe(summary.ended_by), err=True)
    elif not summary.receipted and not refused:
        say("Nothing is waiting.")


def refused_lines(source: str, faults: list[LineFault]) -> Iterator[str]:
    """One fault on the event's own line; several on lines of their own, up to FAULTS_SHOWN_MAX."""
    if len(faults) == 1:
        yield f"{source}: {faults[0]}"
        return
    yield f"{source}: {plural(len(faults), 'fault')}"
    for fault in faults[:FAULTS_SHOWN_MAX]:
        yield f"  {fault}"
    if len(faults) > FAULTS_SHOWN_MAX:
        yield f"  and {len(faults) - FAULTS_SHOWN_MAX:,} more (--json shows all)"


def _summary_members(
    outbox: Outbox,
    summary: Summary,
    queued: tuple[int, int, int],
    refused: list[tuple[str, list[LineFault]]],
) -> dict[str, Any]:
    new, known, refused_before = queued
    return {
        "ok": summary.ended_by is None and not refused and not refused_before,
        "origin": outbox.origin,
        "outbox": str(outbox.path),
        "queued": {"new": new, "known": known, "refused_before": refused_before},
        "receipted": summary.receipted,
        "duplicates": summary.duplicates,
        "refused": [{"source": source, "faults": line_fault_members(faults)} for source, faults in refused],
        "waiting": _waiting(outbox),
        "tree_size": summary.tree_size,
        "growth_unproved": summary.growth_unproved,
        "error": fault_members(summary.ended_by) if summary.ended_by else None,
    }
