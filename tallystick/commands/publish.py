"""`tallystick publish`: a ledger's public part as files, for a web server or an object store."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from keys.errors import Fault
from tallystick.commands.output import fail

if TYPE_CHECKING:
    from tallystick.static_copy import Publisher, Summary

EXIT_FORK = 5  # verifier.verdict: two signed histories of one log
WATCH_PAUSE_MAX_S = 60.0  # between tries while a place or the database does not answer

EPILOG = """
Exit codes: 0 the copy is up to date; 1 what the database holds does not lead to what the log signed; 2 wrong
usage; 3 refused (the copy is newer than this database, or belongs to another log); 4 the place or the
database did not answer; 5 copy and ledger are two histories of one log; 130 interrupted.
"""


@click.command("publish", epilog=EPILOG)
@click.argument("place", metavar="DIR|s3://BUCKET/PREFIX")
@click.option(
    "--ledger",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("."),
    help="The ledger's folder, if it is not the present one.",
)
@click.option(
    "--database", metavar="URL", help="Read from here instead of where the folder says, e.g. a replica."
)
@click.option(
    "--watch",
    type=click.FloatRange(0.1, 86_400),
    metavar="SECONDS",
    help="Stay, look for a newer checkpoint so often, and publish it.",
)
@click.option(
    "--everything",
    is_flag=True,
    help="Write again also what stands there already: after an erasure, or after files were lost.",
)
@click.option("--quiet", is_flag=True, help="Say only what went wrong.")
def publish(
    place: str, folder: Path, database: str | None, watch: float | None, everything: bool, quiet: bool
) -> None:
    """Copy a ledger's public part to a folder or an object store, for anybody to read and audit there.

    Checkpoint, tiles, entries, the statements that its policy shows to everybody, and its public keys. Only
    what is new is written, the checkpoint last. `tallystick audit` takes its address like the server's.
    """
    from ledger.errors import StoreFailed
    from tallystick.static_copy import CopyForked, CopyMoved, PlaceFailed

    try:
        publisher = _publisher(place, folder, database)
        pause = 0.0
        while True:
            try:
                summary = publisher.publish(everything=everything)
            except (PlaceFailed, StoreFailed, CopyMoved) as fault:
                if watch is None:
                    raise
                pause = min(WATCH_PAUSE_MAX_S, max(watch, 2 * pause))
                click.echo(f"tallystick: {fault.detail} [{fault.code}]; again in {pause:g} s", err=True)
                time.sleep(pause)
                continue
            pause, everything = 0.0, False
            if not quiet and (watch is None or summary.written):
                click.echo(_line(place, summary))
                sys.stdout.flush()
            if watch is None:
                return
            time.sleep(watch)
    except CopyForked as fault:
        click.echo(f"tallystick: {fault.detail} [{fault.code}]", err=True)
        sys.exit(EXIT_FORK)
    except Fault as fault:
        fail(fault)


def _publisher(place: str, folder: Path, database: str | None) -> Publisher:
    from api.auditors import trust_document
    from intake import disclosure
    from intake.sequencer import replay
    from ledger.store.opening import open_reader, parse_database
    from tallystick import config as configuration
    from tallystick.static_copy import Publisher
    from tallystick.static_places import open_place
    from verifier.trust import load_trust, public_files

    config = configuration.load(folder)
    reader = open_reader(parse_database(database) if database is not None else config.database)
    trust = load_trust(config.trust)
    return Publisher(
        reader,
        open_place(place),
        origin=config.origin,
        verifiers=trust.log_verifiers(config.origin),
        policy=lambda: disclosure.policy_in_force(lambda: replay(None, reader.read_key_records(-1)), reader),
        trust=trust_document(config.origin, trust, public_files(config.trust)),
    )


def _line(place: str, summary: Summary) -> str:
    if not summary.written and not summary.removed:
        return f"{place} is up to date at {summary.tree_size:,} entries"
    return (
        f"{place}: {summary.old_size:,} to {summary.tree_size:,} entries, {summary.written:,} files of"
        f" {summary.bytes_written:,} bytes written, {summary.removed:,} outlived partial ones removed"
    )
