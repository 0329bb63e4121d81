"""How the command ends, whatever happens in it: 1 is kept for proved tampering."""

from __future__ import annotations

import importlib
import subprocess
import sys

import click
import pytest

from tallystick import cli


@pytest.mark.parametrize(
    ("happens", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "Interrupted"),
        (click.Abort(), 130, "Interrupted"),
        (click.UsageError("no such thing"), 2, "no such thing"),
        (RuntimeError("a bug"), 3, "a mistake of ours"),
        (
            PermissionError(13, "Permission denied", "ledger"),
            3,
            "tallystick: ledger: Permission denied [file]\n",
        ),
    ],
)
def test_no_accident_ends_like_proved_tampering(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    happens: BaseException,
    code: int,
    said: str,
) -> None:
    def run(**_: object) -> None:
        raise happens

    monkeypatch.setattr(cli, "cli", run)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == code
    assert said in capsys.readouterr().err


def test_a_reader_that_has_seen_enough_gets_no_complaint() -> None:
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m tallystick send --help | true"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""


def commands_of(command: click.Command) -> dict[str, click.Command]:
    """The commands below this one; at the top they are imported only when asked for."""
    if not isinstance(command, click.Group):
        return {}
    context = click.Context(command)
    found = {name: command.get_command(context, name) for name in command.list_commands(context)}
    assert found
    return {name: below for name, below in found.items() if below is not None}


def test_every_option_of_every_command_says_what_it_is() -> None:
    def options(command: click.Command, path: str) -> list[str]:
        found = [
            f"{path} {parameter.opts[0]}"
            for parameter in command.params
            if isinstance(parameter, click.Option) and not parameter.help
        ]
        for name, below in commands_of(command).items():
            found += options(below, f"{path} {name}")
        return found

    assert options(cli.cli, "tallystick") == []


def test_no_line_about_a_command_is_cut_off() -> None:
    for command in (cli.cli, commands_of(cli.cli)["outbox"]):
        with click.Context(command, info_name="tallystick") as context:
            assert "..." not in command.get_help(context).replace("[ARGS]...", "")


def test_every_command_of_every_module_is_listed_and_the_other_way_round() -> None:
    for _, module, names in cli.SECTIONS:
        commands = importlib.import_module(f"tallystick.commands.{module}").COMMANDS
        assert tuple(command.name for command in commands) == names


def test_sending_does_not_wait_for_the_libraries_of_auditors_and_servers() -> None:
    script = (
        "import sys\n"
        "sys.argv = ['tallystick', 'send', '--help']\n"
        "from tallystick.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'sqlalchemy', 'flask', 'rfc3161_client', 'verifier', 'asn1crypto'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
