"""The command `tallystick`: for operators, partners and auditors."""

from __future__ import annotations

import os
import sys
import traceback

import click

from tallystick.commands import auditor, operator, partner
from tallystick.commands.demo import demo

UNDECIDED, INTERRUPTED = 3, 130
SHORT_HELP_LENGTH = 120

SECTIONS: list[tuple[str, list[click.Command]]] = [
    ("See it work", [demo]),
    ("Partners: sign and send events", partner.COMMANDS),
    ("Auditors: verify, trusting nobody", auditor.COMMANDS),
    ("Operators: run a ledger", operator.COMMANDS),
]


class SectionedGroup(click.Group):
    """Lists commands under who uses them, instead of by alphabet."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, commands in SECTIONS:
            with formatter.section(title):
                formatter.write_dl(
                    [
                        (command.name or "", command.get_short_help_str(SHORT_HELP_LENGTH))
                        for command in commands
                    ]
                )


@click.group(
    cls=SectionedGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="tallystick")
def cli() -> None:
    """A ledger that lets anyone check what happened to a product."""


for _, _commands in SECTIONS:
    for _command in _commands:
        cli.add_command(_command)


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
