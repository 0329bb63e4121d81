"""The partner's commands, for the command line to list. Keys first, then events, then the outbox."""

from __future__ import annotations

import click

from tallystick.commands.partner_keys import keygen, register, request, revoke, rotate
from tallystick.commands.partner_outbox import outbox
from tallystick.commands.partner_send import send, sign

COMMANDS: list[click.Command] = [keygen, request, register, rotate, revoke, sign, send, outbox]
