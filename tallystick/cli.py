"""The command `tallystick`: for operators, partners and auditors."""

from __future__ import annotations

import os
import sys
import traceback
from importlib import import_module

import click

UNDECIDED, INTERRUPTED = 3, 130
SHORT_HELP_LENGTH = 120

# Each command's module is imported when the command is called: a partner who sends events need not wait
# for the auditor's libraries. Each module lists its commands in COMMANDS.
SECTIONS: list[tuple[str, str, tuple[str, ...]]] = [
    ("See it work", "demo", ("demo",)),
    (
        "Partners: sign and send events",
        "partner",
        ("keygen", "request", "register", "rotate", "revoke", "sign", "send", "outbox"),
    ),
    ("Auditors: verify, trusting nobody", "auditor", ("verify", "audit")),
    ("Anybody: look at events", "epcis", ("epcis",)),
    (
        "Operators: run a ledger",
        "operator",
        ("init", "serve", "publish", "accept-head", "development-authority"),
    ),
    ("Anybody: read what is on a label", "gs1", ("gs1",)),
]
_MODULES = {name: module for _, module, names in SECTIONS for name in names}


class SectionedGroup(click.Group):
    """Lists commands under who uses them, instead of by alphabet, and imports those that are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = _MODULES.get(cmd_name)
        if module is None:
            return None
        commands: list[click.Command] = import_module(f"tallystick.commands.{module}").COMMANDS
        return next(command for command in commands if command.name == cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, _, names in SECTIONS:
            commands = [(name, self.get_command(ctx, name)) for name in names]
            with formatter.section(title):
                formatter.write_dl(
                    [
                        (name, command.get_short_help_str(SHORT_HELP_LENGTH))
                        for name, command in commands
                        if command is not None
                    ]
                )


@click.group(
    cls=SectionedGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="tallystick")
def cli() -> None:
    """A ledger that lets anyone check what happened to a product."""


def main() -> None:
    """Run, and end as scripts expect.

    Left to itself, an interrupt, a closed pipe or a mistake of ours would end with 1, and 1 says that
    tampering was proved.
    """
    try:
        code = cli(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("\nInterrupted.", err=True)
        code = INTERRUPTED
    except BrokenPipeError:
        # `| head` has seen enough. Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = UNDECIDED
    except (
        OSError
    ) as error:  # a folder that is not there, a full disk: nothing that a backtrace would explain
        where = f"{error.filename}: " if error.filename else ""
        click.echo(f"tallystick: {where}{error.strerror or error} [file]", err=True)
        code = UNDECIDED
    except Exception:
        traceback.print_exc()
        click.echo("tallystick: this is a mistake of ours; nothing is decided. Please report it.", err=True)
        code = UNDECIDED
    raise SystemExit(code)
