"""What the operator's page shows is run, and its example configuration is one."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from tallystick.cli import cli
from tallystick.config import Anchoring, parse

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "operator.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def test_the_first_day_goes_as_the_page_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("keys.files.SCRYPT_COST", 2)
    monkeypatch.setenv("TALLYSTICK_PASSPHRASE", "a passphrase")
    (session,) = blocks("console")
    for step in re.split(r"^\$ tallystick ", session, flags=re.MULTILINE)[1:]:
        command, _, shown = step.partition("\n")
        result = CliRunner().invoke(cli, shlex.split(command))
        assert result.exit_code == 0, result.output
        pattern = ".*".join(map(re.escape, shown.rstrip("\n").split("…")))
        assert re.fullmatch(pattern, result.output.rstrip("\n"), re.DOTALL), result.output
    listed = {path.relative_to("ledger").as_posix() for path in Path("ledger").rglob("*.*")}
    assert {"tallystick.toml", "ledger.db", "keys/log.pem", "keys/registrar.pem"} <= listed
    assert Path("ledger/high-water").is_file()


def test_the_configuration_on_the_page_is_one_and_names_the_defaults() -> None:
    (shown,) = blocks("toml")
    config = parse(tomllib.loads(shown), Path("/somewhere"))
    default = Anchoring()
    assert config.anchoring.authorities[0].roots.parent == Path("/somewhere/trust/tsa")
    assert (config.anchoring.interval_s, config.anchoring.every_entries, config.anchoring.timeout_s) == (
        default.interval_s,
        default.every_entries,
        default.timeout_s,
    )


def test_what_init_writes_as_a_comment_becomes_a_configuration_without_the_signs(tmp_path: Path) -> None:
    from tallystick.founding import render_config

    text = render_config("ledger.example/x", "http://127.0.0.1:8080", 600, 10_000, ())
    uncommented = re.sub(r"^# (\[\[|\w+ = )", r"\1", text, flags=re.MULTILINE)
    assert parse(tomllib.loads(text), tmp_path).anchoring.authorities == ()
    (authority,) = parse(tomllib.loads(uncommented), tmp_path).anchoring.authorities
    assert authority.roots.suffix == ".pem"
