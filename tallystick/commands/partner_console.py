"""How the partner's commands speak: options they share, progress, plain errors, exit codes.

Results go to standard output, everything else to standard error, so that `--json | jq` and a terminal
are both well served. An error is one line: what happened, what to do, and a stable code.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn, ParamSpec, Protocol

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from client.errors import InputMalformed, LedgerUnreachable, LineFault, LogForked, OutboxStopped
from keys.algorithms import PrivateKey
from keys.errors import Fault, Malformed, Refuted
from keys.files import read_passphrase
from keys.signers import load_signer

OK, REFUTED, USAGE, INCOMPLETE, INCONSISTENT, INTERRUPTED = 0, 1, 2, 3, 5, 130
PASSPHRASE_VARIABLE = "TALLYSTICK_PASSPHRASE"  # noqa: S105 - where it is, not what it is

KEY_SCHEMES = frozenset({"file", "env", "pkcs11"})

P = ParamSpec("P")

# What to do, by code or by its first part. The most exact one is taken.
_ADVICE = {
    "key.unknown": "Have the registrar register this key (tallystick request, then tallystick register)",
    "key.revoked": "Sign with a key that is in force",
    "key.rotated": "Sign with the key that came after it",
    "key.expired": "Register a new key",
    "key.passphrase": "Check --passphrase, or what it points to",
    "key.file.exists": "Choose another --out",
    "outbox.stopped": "See `tallystick outbox status`; once it is settled, `tallystick outbox resume`",
    "outbox.busy": "Let the other one finish",
    "outbox.missing": "Name another with --outbox, or send something first",
    "outbox.origin": "Name another file with --outbox",
    "http": "Nothing is lost: run the same command again later",
    "log.fork": "Nothing more is sent. Keep this outbox, and show both checkpoints "
    "(tallystick outbox export) to the operator, to auditors, and to other partners",
    "log.inconsistent": "Nothing more is sent. Keep this outbox, and show both checkpoints "
    "(tallystick outbox export) to the operator and to auditors",
    "log.rollback": "Nothing more is sent. Ask the operator whether a backup was restored; "
    "your receipts prove what stood there",
    "receipt": "Nothing more is sent. The evidence is kept (tallystick outbox export); ask the operator",
    "checkpoint": "Nothing more is sent. Compare --log-key with the key that the operator gave you",
    "answer": "Check --url",
    "log-key": "Take the line that the ledger's operator publishes, whole",
    "url": "Check --url",
}


class Option(Protocol):
    """What click.option() makes."""

    def __call__(self, command: Callable[..., Any], /) -> Callable[..., Any]: ...


url_option = click.option(
    "--url", envvar="TALLYSTICK_URL", show_envvar=True, metavar="URL", help="The ledger's address."
)
origin_option = click.option(
    "--origin",
    envvar="TALLYSTICK_ORIGIN",
    show_envvar=True,
    metavar="NAME",
    help="The ledger's name. Not needed with --log-key, which begins with it.",
)
log_key_option = click.option(
    "--log-key",
    "log_keys",
    envvar="TALLYSTICK_LOG_KEY",
    show_envvar=True,
    multiple=True,
    metavar="VKEY",
    help="The ledger's verifier key (name+hash+base64), got from its operator by another way than --url.",
)
key_option = click.option(
    "--key",
    "key_uri",
    envvar="TALLYSTICK_KEY",
    show_envvar=True,
    metavar="FILE|env:NAME",
    help="Your private key: a file from `tallystick keygen`, or env:NAME.",
)
passphrase_option = click.option(
    "--passphrase",
    "passphrase_source",
    metavar="SOURCE",
    help="Where the key's passphrase is: prompt, env:NAME or file:PATH."
    f"  [default: env:{PASSPHRASE_VARIABLE} if that is set, otherwise prompt]",
)
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
outbox_option = click.option(
    "--outbox",
    "outbox_path",
    envvar="TALLYSTICK_OUTBOX",
    show_envvar=True,
    default="tallystick-outbox.sqlite",
    show_default=True,
    type=click.Path(dir_okay=False),
    help="The file that keeps what is signed until its receipt is back, and the receipt.",
)


def with_options(*options: Option) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Several options at once, listed in this order by --help."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        return functools.reduce(lambda done, option: option(done), reversed(options), command)

    return decorate


# Ends -------------------------------------------------------------------------------------------


def exit_code(fault: Fault) -> int:
    """0 all well, 1 proved false, 2 not usable as given, 3 incomplete, 5 inconsistent checkpoints."""
    if isinstance(fault, LogForked) or (
        isinstance(fault, OutboxStopped) and fault.alarm_code.startswith("log.")
    ):
        return INCONSISTENT
    if isinstance(fault, Refuted):
        return REFUTED
    if isinstance(fault, Malformed) and fault.code.split(".")[0] not in _FROM_OUTSIDE:
        return USAGE
    return INCOMPLETE


# Malformed, but by the other side: then the user's call was right, and nothing is proved against anyone.
_FROM_OUTSIDE = frozenset({"answer", "http", "receipt", "checkpoint", "proof", "ledger"})


def find_advice(code: str) -> str:
    """What to do about this code; empty if the message says it all."""
    while code:
        if code in _ADVICE:
            return _ADVICE[code]
        code = code.rpartition(".")[0]
    return ""


def describe(fault: Fault) -> str:
    """One readable line."""
    where = f" (at {fault.pointer})" if fault.pointer else ""
    advice = find_advice(fault.code)
    return f"{fault.detail}{where}. {advice + ' ' if advice else ''}[{fault.code}]".replace("?. ", "? ")


def fault_members(fault: Fault) -> dict[str, str]:
    """The same for programs."""
    members = {"code": fault.code, "detail": fault.detail, "pointer": fault.pointer}
    return {**members, "advice": find_advice(fault.code)}


def line_fault_members(faults: Iterable[LineFault]) -> list[dict[str, str]]:
    """The ledger's faults of one statement, for programs."""
    return [{"code": f.code, "pointer": f.pointer, "detail": f.detail, "fix": f.fix} for f in faults]


def write_new(path: Path, data: bytes) -> None:
    """A file that is whole or not there: half of one must not be taken for a signed one after a crash."""
    temporary = path.with_name(path.name + ".part")
    temporary.write_bytes(data)
    temporary.replace(path)


def say(text: str = "") -> None:
    """A line of the result."""
    click.echo(text)


def remark(text: str) -> None:
    """A line beside the result."""
    click.echo(text, err=True)


def say_json(members: dict[str, Any]) -> None:
    """The result for programs."""
    click.echo(json.dumps(members, indent=2 if sys.stdout.isatty() else None, ensure_ascii=False))


def fail(fault: Fault, *, as_json: bool = False) -> NoReturn:
    """End with one line, or one object, and the exit code."""
    if as_json:
        say_json({"ok": False, "error": fault_members(fault)})
    else:
        click.echo(click.style("tallystick: ", fg="red", bold=True) + describe(fault), err=True)
    raise SystemExit(exit_code(fault))


def plainly(command: Callable[P, None]) -> Callable[P, None]:
    """No traceback for anything that a user, a file or a server can cause."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except Fault as e:
            fail(e, as_json=bool(kwargs.get("as_json")))
        except BrokenPipeError:
            # `| head` has seen enough. Python would complain once more when it flushes at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(OK) from None
        except OSError as e:
            name = f"{e.filename}: " if e.filename else ""
            remark(f"tallystick: {name}{e.strerror or e} [file]")
            raise SystemExit(INCOMPLETE) from None
        except KeyboardInterrupt:
            remark(
                "\ntallystick: interrupted. What was kept is safe; run the same command again. [interrupted]"
            )
            raise SystemExit(INTERRUPTED) from None

    return wrapped


def require_option(value: str | None, name: str, variable: str, why: str) -> str:
    """An option that this call cannot do without."""
    if not value:
        raise InputMalformed("option.missing", f"{name} (or {variable}) is needed: {why}")
    return value


# Keys and times ---------------------------------------------------------------------------------


def passphrase_reader(source: str | None, *, confirm: bool = False) -> Callable[[], bytes]:
    """A function that gets the passphrase when somebody needs it."""
    chosen = source or (f"env:{PASSPHRASE_VARIABLE}" if PASSPHRASE_VARIABLE in os.environ else "prompt")
    return lambda: read_passphrase(chosen, confirm=confirm)


def load_key(key_uri: str | None, passphrase_source: str | None) -> PrivateKey:
    """The key that --key names; a bare path is a file."""
    uri = require_option(key_uri, "--key", "TALLYSTICK_KEY", "the private key to sign with")
    if uri.partition(":")[0] not in KEY_SCHEMES:
        uri = f"file:{uri}"
    return load_signer(uri, passphrase_reader(passphrase_source))


class Moment(click.ParamType[datetime]):
    """A moment as 2026-11-20T12:00:00Z, or a date, which begins at midnight UTC."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no time such as 2026-11-20T12:00:00Z", param, ctx)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


# Progress ---------------------------------------------------------------------------------------


class Meter(Protocol):
    """Shows how far it has come."""

    def show(self, done: int, text: str = "") -> None: ...

    def wait(self, fault: LedgerUnreachable, wait_s: float) -> None: ...


class _PlainMeter:
    """For pipes and logs: says only what holds it up."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet

    def show(self, done: int, text: str = "") -> None:
        pass

    def wait(self, fault: LedgerUnreachable, wait_s: float) -> None:
        if not self._quiet:
            remark(f"{fault.detail}; trying again in {wait_s:.1f} s")


class _BarMeter:
    def __init__(self, progress: Progress, total: int, text: str) -> None:
        self._progress = progress
        self._text = text
        self._task = progress.add_task(text, total=total)

    def show(self, done: int, text: str = "") -> None:
        self._progress.update(self._task, completed=done, description=text or self._text)

    def wait(self, fault: LedgerUnreachable, wait_s: float) -> None:
        self._progress.update(self._task, description=f"{fault.detail}; again in {wait_s:.1f} s")


@contextmanager
def meter(total: int, text: str, *, quiet: bool) -> Iterator[Meter]:
    """A bar on a terminal; in a pipe, a line for each pause; nothing at all if quiet."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield _PlainMeter(quiet)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield _BarMeter(progress, total, text)


def plural(count: int, one: str, many: str | None = None) -> str:
    """ "1 event", "2 events"."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def span(first: int | None, last: int | None) -> str:
    """ "position 7", "positions 7 to 66"."""
    return f"position {first}" if first == last else f"positions {first} to {last}"


def table(rows: Sequence[Sequence[str]]) -> None:
    """Columns, as wide as they have to be; the last one runs free."""
    if not rows:
        return
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]) - 1)]
    for row in rows:
        say(
            "  ".join(
                [cell.ljust(width) for cell, width in zip(row, widths, strict=False)] + [row[-1]]
            ).rstrip()
        )
