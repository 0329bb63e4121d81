"""How the command ends, whatever happens in it: 1 is kept for proved tampering."""

from __future__ import annotations

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


def test_every_option_of_every_command_says_what_it_is() -> None:
    def options(command: click.Command, path: str) -> list[str]:
        found = [
            f"{path} {parameter.opts[0]}"
            for parameter in command.params
            if isinstance(parameter, click.Option) and not parameter.help
        ]
        for name, below in getattr(command, "commands", {}).items():
            found += options(below, f"{path} {name}")
        return found

    assert options(cli.cli, "tallystick") == []


def test_no_line_about_a_command_is_cut_off() -> None:
    for command in (cli.cli, cli.cli.commands["outbox"]):
        with click.Context(command, info_name="tallystick") as context:
            assert "..." not in command.get_help(context).replace("[ARGS]...", "")
