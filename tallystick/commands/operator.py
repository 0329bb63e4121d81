"""Commands for whoever runs a ledger, and a time-stamp authority for development."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import click

from keys.errors import Fault
from tallystick.commands.output import fail
from tallystick.commands.partner_console import passphrase_option, passphrase_reader
from tallystick.commands.publish import publish

ORIGIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9.\-]*(:[0-9]+)?(/[A-Za-z0-9._~\-]+)*")
URL = re.compile(r"https?://[A-Za-z0-9.\-\[\]:]+(/[A-Za-z0-9._~\-/]*)?")

database_option = click.option(
    "--database",
    metavar="URL",
    help="Where the ledger is kept, if not as its folder says: a SQLite file, postgresql+psycopg://…, or"
    " env:NAME, which keeps a password out of the command line.",
)
folder_argument = click.argument("folder", type=click.Path(path_type=Path, file_okay=False))


@click.command("init")
@folder_argument
@click.option("--origin", required=True, help="The ledger's name for ever, e.g. ledger.example/pharma-2026.")
@click.option(
    "--base-url", default="http://127.0.0.1:8080", show_default=True, help="Where it will be served."
)
@click.option(
    "--registrar-name", default="Registrar", show_default=True, help="Who decides which parties may speak."
)
@click.option(
    "--operator-name", default="Operator", show_default=True, help="Who runs the service and anchors it."
)
@click.option(
    "--public",
    is_flag=True,
    help="Let anybody read the events. Without it only their digests are shown. The first entry records it.",
)
@click.option(
    "--anchor-interval",
    type=click.FloatRange(1, 86_400),
    default=600.0,
    show_default=True,
    metavar="SECONDS",
    help="How often the ledger is time-stamped while something is new.",
)
@click.option(
    "--anchor-every",
    type=click.IntRange(1),
    default=10_000,
    show_default=True,
    metavar="ENTRIES",
    help="Time-stamp it sooner, once so many entries are new.",
)
@database_option
@passphrase_option
def init(
    folder: Path,
    origin: str,
    base_url: str,
    registrar_name: str,
    operator_name: str,
    public: bool,
    anchor_interval: float,
    anchor_every: int,
    database: str | None,
    passphrase_source: str | None,
) -> None:
    """Found a ledger in FOLDER: keys, genesis and configuration.

    The passphrase encrypts all three keys, and `tallystick serve` asks for it again. docs/operator.md shows
    a first day.
    """
    from tallystick.founding import found

    if not ORIGIN.fullmatch(origin):
        raise click.BadParameter(
            "use a host name and a path, like ledger.example/pharma-2026", param_hint="--origin"
        )
    if not URL.fullmatch(base_url):
        raise click.BadParameter("use a plain http or https address", param_hint="--base-url")
    try:
        founded = found(
            folder,
            origin=origin,
            base_url=base_url,
            registrar_name=registrar_name,
            operator_name=operator_name,
            passphrase=passphrase_reader(passphrase_source, confirm=True)(),
            public_read=public,
            interval_s=anchor_interval,
            every_entries=anchor_every,
            database=database,
        )
    except Fault as fault:
        fail(fault)
    click.echo(f"Founded {founded.origin} in {folder}")
    click.echo(f"  genesis    {founded.genesis_leaf_hash.hex()}  (verifiers pin this)")
    click.echo(f"  log key    {founded.log_vkey}")
    click.echo(f"  registrar  {founded.registrar_kid}  keep keys/registrar.pem offline")
    click.echo(f"  operator   {founded.operator_kid}")
    click.echo(
        f"Next: name a time-stamp authority in {folder / 'tallystick.toml'}, then: tallystick serve {folder}"
    )


@click.command("serve")
@folder_argument
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(1, 65_535), default=8080, show_default=True, help="And its port.")
@click.option(
    "--workers", type=click.IntRange(1, 64), default=2, show_default=True, help="Processes that verify."
)
@click.option(
    "--threads",
    type=click.IntRange(1, 256),
    default=16,
    show_default=True,
    help="Threads of each, for all but the taking of events.",
)
@click.option("--quiet", is_flag=True, help="Say only what went wrong.")
@database_option
@passphrase_option
def serve(
    folder: Path,
    host: str,
    port: int,
    workers: int,
    threads: int,
    quiet: bool,
    database: str | None,
    passphrase_source: str | None,
) -> None:
    """Serve the ledger in FOLDER over HTTP, until Ctrl-C.

    One process writes; a second server on the same ledger is refused. It may be killed at any moment: what
    was acknowledged is on the disk. docs/operator.md tells the rest.
    """
    from tallystick import config as configuration
    from tallystick import serve as server

    if database is not None:
        # The way to the processes that serve: all of them read the configuration for themselves.
        os.environ[configuration.DATABASE_VARIABLE] = database
    try:
        configuration.load(folder)  # no use in asking for a passphrase without a ledger
        passphrase = passphrase_reader(passphrase_source)()
        server.serve(
            folder.absolute(),
            host=host,
            port=port,
            workers=workers,
            threads=threads,
            passphrase=passphrase,
            quiet=quiet,
        )
    except Fault as fault:
        fail(fault)


@click.command("accept-head")
@folder_argument
@click.option("--yes", is_flag=True, help="Do not ask.")
@passphrase_option
def accept_head(folder: Path, yes: bool, passphrase_source: str | None) -> None:
    """Let a ledger write again that lost its high-water file.

    Without that file nobody knows whether the database is the newest, or an old backup: if it wrote, receipts
    that were given out after the backup would contradict it. Accept the head only when you know that nothing
    newer was ever given out. A head that is known to be old is never accepted: restore the newest database.
    """
    from tallystick import config as configuration
    from tallystick.sequencer_process import open_log

    try:
        config = configuration.load(folder)
        log, store, _ = open_log(config, passphrase_reader(passphrase_source)())
        try:
            if log.read_only_reason is None:
                click.echo("This ledger is not read-only; there is nothing to accept.")
                return
            click.echo(f"Read-only because: {log.read_only_reason}")
            click.echo(f"Its head: {log.head.tree_size} entries, recorded up to {log.head.recorded_at}")
            if not yes:
                click.confirm("Was nothing newer than this ever given out?", abort=True)
            log.accept_head()
            click.echo("Accepted. The ledger will write from this head on.")
        finally:
            store.close()
    except Fault as fault:
        fail(fault)


@click.command("development-authority")
@click.option("--port", type=click.IntRange(0, 65_535), default=0, help="0 takes a free one.")
@click.option(
    "--roots", type=click.Path(path_type=Path, dir_okay=False), help="Write the root certificate here."
)
def development_authority(port: int, roots: Path | None) -> None:
    """Run a time-stamp authority on loopback, for development ONLY.

    Its key lives in memory and its stamps prove nothing to anybody else.
    """
    from anchoring.devtsa import DevelopmentAuthority
    from anchoring.devtsa import serve as serve_authority

    authority = DevelopmentAuthority(lambda: datetime.now(UTC))
    if roots is not None:
        roots.write_bytes(authority.root_pem)
    server = serve_authority(authority, port)
    click.echo(f"development authority, proves nothing to others: {server.url}")
    sys.stdout.flush()
    with server, contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()


COMMANDS: list[click.Command] = [init, serve, publish, accept_head, development_authority]
