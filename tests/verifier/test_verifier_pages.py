"""What the pages about evidence, trust and verdicts show is what the code does."""

from __future__ import annotations

import json
import re
from pathlib import Path

import click
import pytest
import rfc8785
from click.testing import CliRunner
from tt_evidence import example_world

from tallystick.commands import auditor
from verifier import bundle as bundles
from verifier.policy import parse_policy
from verifier.trust import parse_genesis
from verifier.verdict import _MEANINGS, Verdict

PAGES = Path(__file__).resolve().parents[2] / "docs" / "formats"


def blocks(page: str, kind: str) -> list[str]:
    text = (PAGES / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{kind}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def example() -> bytes:
    return rfc8785.dumps(json.loads(blocks("evidence-bundle.md", "json")[0]))


@pytest.fixture
def folder(tmp_path: Path, example: bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "trust").mkdir()
    (tmp_path / "trust" / "policy").write_text(blocks("trust-directory.md", "policy")[0], encoding="utf-8")
    (tmp_path / "trust" / "genesis").write_text(blocks("trust-directory.md", "genesis")[0], encoding="utf-8")
    (tmp_path / "evidence.json").write_bytes(example)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)
    return tmp_path


def run(*arguments: str) -> tuple[int, str]:
    group = click.Group(commands={command.name or "": command for command in auditor.COMMANDS})
    result = CliRunner().invoke(group, list(arguments))
    return result.exit_code, result.output


def test_the_bundle_on_the_page_is_one_and_is_the_one_we_make(example: bytes) -> None:
    assert bundles.render(bundles.parse(example)) == example
    assert example_world().bundle() == example


def test_the_page_lists_every_member(example: bytes) -> None:
    text = (PAGES / "evidence-bundle.md").read_text(encoding="utf-8")
    for member in json.loads(example):
        assert f"| `{member}` |" in text


def test_the_output_on_the_page_is_what_the_command_prints(folder: Path) -> None:
    code, output = run("verify", "--trust", "trust", "evidence.json")
    assert (code, output.rstrip("\n")) == (4, blocks("verdicts.md", "output")[0].rstrip("\n"))


def test_the_json_on_the_page_is_part_of_what_the_command_prints(folder: Path) -> None:
    _, output = run("verify", "--json", "--trust", "trust", "evidence.json")
    real = json.loads(output)
    shown = json.loads(blocks("verdicts.md", "json")[0])
    (real_report,), (shown_report,) = real.pop("reports"), shown.pop("reports")
    assert real == shown
    assert shown_report.keys() == real_report.keys()
    for name in ("checks", "not_checked"):
        assert all(row in real_report[name] for row in shown_report.pop(name))
        del real_report[name]
    assert shown_report.pop("facts").items() <= real_report.pop("facts").items()
    assert shown_report == real_report


def test_the_policies_and_the_genesis_on_the_page_are_read() -> None:
    own, regulators = (parse_policy(block.encode()) for block in blocks("trust-directory.md", "policy"))
    genesis = parse_genesis(blocks("trust-directory.md", "genesis")[0].encode())
    assert own.log_verifiers(genesis.origin)
    assert [regulators.is_met_by(names) for names in (["north"], ["north", "east"], ["notary"])] == [
        *(False, True, True),
    ]


def test_the_page_has_every_verdict_with_its_exit_code_and_meaning() -> None:
    text = (PAGES / "verdicts.md").read_text(encoding="utf-8")
    for verdict in Verdict:
        assert f"| {verdict.value} | {verdict.exit_code} | {_MEANINGS[verdict]} |" in text
