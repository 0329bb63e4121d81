"""What docs/audit.md shows is what the command prints and what a state file is."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from tt_evidence import example_world, store_in_sqlite

from tallystick.commands import auditor
from verifier import ledger_audit, range_audit, ranges, resume

DOCS = Path(__file__).resolve().parents[2] / "docs"


def blocks(page: str, kind: str) -> list[str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{kind}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def test_the_output_on_the_page_is_what_the_command_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "trust").mkdir()
    for name in ("policy", "genesis"):
        (tmp_path / "trust" / name).write_text(
            blocks("formats/trust-directory.md", name)[0], encoding="utf-8"
        )
    store_in_sqlite(example_world(), tmp_path / "ledger.db")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)
    command = blocks("audit.md", "console")[0].removeprefix("$ tallystick ").split()
    group = click.Group(commands={command.name or "": command for command in auditor.COMMANDS})
    result = CliRunner().invoke(group, command)
    shown = blocks("audit.md", "output")[0]
    seconds = re.compile(r"in \d+\.\d s")
    assert result.exit_code == 4
    assert seconds.sub("", result.output.rstrip()) == seconds.sub("", shown.rstrip())


def test_the_state_file_on_the_page_is_one() -> None:
    (shown,) = blocks("audit.md", "json")
    state = resume.parse(shown.encode())
    assert resume.render(state).decode() == shown
    assert state.size == 1024


def test_the_numbers_on_the_page_are_those_of_the_code() -> None:
    text = (DOCS / "audit.md").read_text(encoding="utf-8")
    assert f"more than {ledger_audit.PARALLEL_MIN:,} entries" in text
    assert f"ranges of {range_audit.RANGE_TILES * 256:,} entries" in text
    assert f"more than {ranges.KEY_RECORDS_MAX:,} key statements" in text
    assert range_audit.SAVE_INTERVAL_S == 5.0
