"""Commands for whoever wants to know and trusts nobody: one product's evidence, or a whole ledger."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson

from keys.errors import Fault
from verifier.crew_start import CrewStart
from verifier.verdict import (
    EXIT_FORK,
    EXIT_INTERRUPTED,
    EXIT_UNDECIDED,
    EXIT_USAGE,
    Check,
    Report,
    ReportBuilder,
    worst,
    worst_exit_code,
)

if TYPE_CHECKING:  # what only one of the commands needs, or the process that its workers come from needs too
    from ledger.findings import LedgerReader
    from ledger.store.opening import Database
    from verifier.trust import Trust

RECEIPT_START = b"c2sp.org/tlog-proof@"
KEPT_SIZE_MAX = 1024 * 1024
LONG_FILE_SIZE = 8 << 20  # bytes; about where an audit is shared out
URL = re.compile(r"https?://[^\s/?#@]+(/[^\s?#]*)?")

trust_option = click.option(
    "--trust",
    "trust_folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="What you believe already: the ledger's keys and first entry, and time-stamp authorities, from"
    " somewhere else than the evidence. Without it the verdict is UNKNOWN-KEY at best.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")

EXIT_CODES = """
Exit codes: 0 all holds; 1 tampering proved; 2 wrong usage; 3 not decidable, or suspect; 4 too fresh to be
anchored or witnessed; 5 the ledger contradicts itself; 130 interrupted. The worst one counts.
"""


@click.command("verify", epilog=EXIT_CODES)
@click.argument(
    "files",
    nargs=-1,
    required=True,
    metavar="FILE…",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
)
@trust_option
@click.option(
    "--epc", help="The product that you hold: EPC URN or GS1 Digital Link. Evidence of another one fails."
)
@json_option
def verify(files: tuple[Path, ...], trust_folder: Path | None, epc: str | None, as_json: bool) -> None:
    """Check evidence bundles and receipts, offline.

    A receipt is checked against its statement if that file is given as well: tallystick verify --trust
    DIR order-17.tlog-proof order-17.jws
    """
    from tallystick.commands.report_text import print_report, print_summary
    from verifier import receipt
    from verifier.bundle import BUNDLE_SIZE_MAX
    from verifier.forks import find_forks

    with _interruptible():
        if epc is not None:
            _require_identifier(epc)
        trust = _load_trust(trust_folder)
        contents = [(file, _read(file, BUNDLE_SIZE_MAX)) for file in files]
        statements = {sha256(raw).digest(): raw for _, raw in contents if _is_statement(raw)}
        claimed = {receipt.statement_digest_of(raw) for _, raw in contents if raw.startswith(RECEIPT_START)}
        named: list[tuple[str, Report]] = []
        for file, raw in contents:
            if not _is_statement(raw):
                named.append((_name(file), _verify_one(raw, trust, epc, statements)))
            elif sha256(raw).digest() not in claimed:
                named.append((_name(file), _lone_statement(file)))
        reports = [report for _, report in named]
        forks = find_forks(reports)
        codes = [report.exit_code for report in reports] + [EXIT_FORK] * bool(forks)
        code = worst_exit_code(codes)
        if as_json:
            _print_json(
                {
                    "verdict": worst(report.verdict for report in reports).value,
                    "exit_code": code,
                    "forks": [fork.to_json() for fork in forks],
                    "reports": [{"file": name, **report.to_json()} for name, report in named],
                }
            )
        else:
            for name, report in named:
                print_report(name, report)
            print_summary(reports, forks)
    sys.exit(code)


@click.command("audit", epilog=EXIT_CODES)
@click.argument("source", required=False, metavar="[FILE|URL]")
@click.option(
    "--database",
    metavar="FILE|URL",
    help="The ledger's SQLite file, postgresql+psycopg://…, or env:NAME, which keeps a password out of the"
    " command line. It is only read, also while a server writes.",
)
@click.option("--url", help="The address of a ledger's server, instead of a database.")
@trust_option
@click.option(
    "--checkpoint",
    "kept",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A checkpoint that you kept from an earlier day: the ledger must still agree with it.",
)
@click.option(
    "--allow-fresh",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    metavar="SECONDS",
    help="Events younger than this need no outside time-stamp yet.",
)
@click.option(
    "--processes",
    type=click.IntRange(1, 256),
    help="Processes that share a long ledger; one per core unless you say otherwise.",
)
@click.option(
    "--resume",
    "state_file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Go on where an audit with the same FILE ended, and note in it how far this one came. It is"
    " made if it is not there.",
)
@click.option(
    "--structure-only",
    is_flag=True,
    help="Check order and content alone, many times faster, and no signature of a statement: the verdict"
    " is UNKNOWN-KEY at best.",
)
@json_option
def audit(
    source: str | None,
    database: str | None,
    url: str | None,
    trust_folder: Path | None,
    kept: Path | None,
    allow_fresh: int,
    processes: int | None,
    state_file: Path | None,
    structure_only: bool,
    as_json: bool,
) -> None:
    """Read a whole ledger again, believe nothing, and name each faulty entry.

    The ledger is a database, or the http address of its server or of a published copy of it.
    """
    if sum(place is not None for place in (source, database, url)) != 1:
        raise click.UsageError("Give one ledger: SOURCE, --database or --url.")
    if source is not None:
        database, url = (None, source) if source.startswith(("http://", "https://")) else (source, None)
    if url is not None and not URL.fullmatch(url):
        raise click.BadParameter(f"{url!r} is no http or https address", param_hint="--url")
    with _interruptible(), ExitStack() as stack:
        crew_start = None
        if not structure_only and processes != 1 and (processes or os.cpu_count() or 1) > 1:
            # At once, so that it imports while we do.
            crew_start = _start_crew(database, stack)
        from verifier.ledger_audit import Freshness
        from verifier.ledger_audit import audit as audit_ledger

        address = None if database is None else _database(database)
        open_reader = _opener(address, url)
        reader = stack.enter_context(_reader(open_reader))
        started = time.perf_counter()
        with _progress(shown=not as_json and sys.stderr.isatty()) as progress:
            report = audit_ledger(
                reader,
                _load_trust(trust_folder),
                kept_checkpoint=_read(kept, KEPT_SIZE_MAX) if kept else None,
                freshness=Freshness(datetime.now(UTC), timedelta(seconds=allow_fresh)),
                progress=progress,
                open_reader=open_reader,
                processes=processes,
                state_file=state_file,
                structure_only=structure_only,
                crew_start=crew_start,
            )
        elapsed_s = time.perf_counter() - started
        if as_json:
            _print_json({**report.to_json(), "elapsed_s": round(elapsed_s, 3)})
        else:
            from tallystick.commands.report_text import print_report

            print_report(str(address or url), report, elapsed_s=elapsed_s)
    sys.exit(report.exit_code)


def _start_crew(database: str | None, stack: ExitStack) -> CrewStart | None:
    """Start where processes come from, if the ledger looks as if it will be shared out."""
    modules = ["verifier.url_reader" if database is None else "ledger.store.opening"]
    if database is not None and "://" not in database and not database.startswith("env:"):
        try:
            if os.stat(database).st_size < LONG_FILE_SIZE:
                return None
        except OSError:
            return None  # which is told where it is opened
        modules = ["ledger.store.sqlite"]
    return stack.enter_context(CrewStart([*modules, "verifier.crew"]))


def _verify_one(raw: bytes, trust: Trust, epc: str | None, statements: dict[bytes, bytes]) -> Report:
    from verifier import evidence, receipt

    if raw.startswith(RECEIPT_START):
        return receipt.verify(raw, trust, statement=statements.get(receipt.statement_digest_of(raw) or b""))
    return evidence.verify(raw, trust, expected_subject=epc)


def _lone_statement(file: Path) -> Report:
    report = ReportBuilder("statement", _name(Path(file.name)))
    report.add(
        Check(
            "statement",
            "unknown",
            "This is a signed statement. Whether a ledger holds it, only its receipt or an evidence bundle"
            " shows: none was given with it.",
            "statement.alone",
        )
    )
    return report.build()


def _name(file: Path) -> str:
    """A file's name is bytes and need not be text; neither JSON nor a terminal takes what is not."""
    return str(file).encode("utf-8", "backslashreplace").decode()


def _require_identifier(epc: str) -> None:
    """A mistyped identifier is no evidence against anybody's file."""
    from traceability.gs1 import canonical

    try:
        canonical(epc)
    except Fault as fault:
        raise click.BadParameter(f"{fault.detail} [{fault.code}]", param_hint="--epc") from fault


def _is_statement(raw: bytes) -> bool:
    """A compact JWS: three parts of base64url, the first of which opens a JSON object."""
    return raw.startswith(b"eyJ") and raw.count(b".") == 2


def _load_trust(folder: Path | None) -> Trust:
    from verifier.trust import Trust, load_trust

    if folder is None:
        return Trust()
    try:
        return load_trust(folder)
    except Fault as fault:
        click.echo(f"tallystick: {fault.detail} [{fault.code}]", err=True)
        sys.exit(EXIT_USAGE)


def _read(file: Path, size_max: int) -> bytes:
    """A byte more than is allowed, so that whoever parses it sees that it is too long."""
    try:
        with file.open("rb") as stream:
            return stream.read(size_max + 1)
    except OSError as error:
        click.echo(f"tallystick: {file} cannot be read: {error.strerror}", err=True)
        sys.exit(EXIT_USAGE)


def _database(text: str) -> Database:
    """Where the ledger is kept. A mistyped address decides nothing about it."""
    from ledger.store.opening import parse_database

    try:
        address = parse_database(text)
    except Fault as fault:
        raise click.BadParameter(fault.detail, param_hint="--database") from None
    if isinstance(address, Path) and not address.is_file():
        raise click.BadParameter(f"there is no file {str(address)!r}", param_hint="--database")
    return address


def _opener(database: Database | None, url: str | None) -> Callable[[], Any]:
    """How this process opens the ledger, and any other one."""
    if database is not None:
        from ledger.store.opening import open_reader

        return partial(open_reader, database)
    from verifier.url_reader import UrlReader

    return partial(UrlReader, url or "")


@contextmanager
def _reader(open_reader: Callable[[], Any]) -> Iterator[LedgerReader]:
    """Whatever holds the ledger; that it cannot be read decides nothing about it."""
    from verifier.errors import StateMalformed

    reader: Any = None
    try:
        reader = open_reader()
        yield reader
    except StateMalformed as fault:
        click.echo(f"tallystick: {fault.detail} [{fault.code}]", err=True)
        sys.exit(EXIT_USAGE)
    except Fault as fault:
        click.echo(f"tallystick: the ledger cannot be read: {fault.detail} [{fault.code}]", err=True)
        sys.exit(EXIT_UNDECIDED)
    finally:
        if reader is not None:
            reader.close()


@contextmanager
def _progress(*, shown: bool) -> Iterator[Callable[[int, int], None] | None]:
    if not shown:
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("Checking"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("entries"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("audit", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def _interruptible() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        click.echo("tallystick: interrupted; nothing is decided", err=True)
        sys.exit(EXIT_INTERRUPTED)


def _print_json(value: dict[str, Any]) -> None:
    click.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


COMMANDS: list[click.Command] = [verify, audit]
