"""How every command ends badly: one readable line, and an exit code that a script can tell apart."""

from __future__ import annotations

from typing import NoReturn

import click

from keys.errors import Fault, Malformed, NotYet, Refuted

USAGE, REFUTED, UNDECIDED, NOT_YET = 2, 1, 3, 4


def exit_code(fault: Fault) -> int:
    """1 proved false, 2 not readable, 3 not decidable or not allowed, 4 too early."""
    if isinstance(fault, Refuted):
        return REFUTED
    if isinstance(fault, Malformed):
        return USAGE
    if isinstance(fault, NotYet):
        return NOT_YET
    return UNDECIDED


def fail(fault: Fault) -> NoReturn:
    """Print the fault's own sentence to standard error and end."""
    where = f" (at {fault.pointer})" if fault.pointer else ""
    click.echo(f"tallystick: {fault.detail}{where} [{fault.code}]", err=True)
    raise SystemExit(exit_code(fault))
