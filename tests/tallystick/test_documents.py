"""The documents agree with the repository: links, dependencies, examples, the numbers of decisions."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FORMATS = sorted((ROOT / "docs" / "formats").glob("*.md"))
DECISIONS = sorted((ROOT / "docs" / "adr").glob("*.md"))


def slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        name, _, fragment = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), f"{page.name} links to {target}"
        if fragment:
            headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert fragment in map(slug, headings), f"{page.name} links to {target}"


def test_each_direct_dependency_has_its_line_and_nothing_else_has() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    runs, tests = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8").split("## What tests")
    for part, wanted in (
        (runs, project["project"]["dependencies"]),
        (tests, project["dependency-groups"]["dev"]),
    ):
        rows = re.findall(r"^\| ([^|]+?) \|", part, re.MULTILINE)[1:]
        rows = [row for row in rows if not row.endswith("(Go)")]  # no Python package
        told = {
            name for row in rows for name in re.sub(r" \(.*?\)", "", row).split(", ") if "---" not in name
        }
        assert told == {re.split(r"[^A-Za-z0-9\-]", line, maxsplit=1)[0] for line in wanted}


@pytest.mark.parametrize("page", FORMATS, ids=lambda page: page.name)
def test_each_format_opens_with_an_example_that_a_test_runs(page: Path) -> None:
    opening = page.read_text(encoding="utf-8").split("\n## ")[0]
    assert "\n```" in opening
    tests = (path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    assert any(page.name in text for text in tests)


def test_decisions_are_numbered_without_gaps_and_have_all_their_parts() -> None:
    for number, page in enumerate(DECISIONS, 1):
        text = page.read_text(encoding="utf-8")
        assert page.name.startswith(f"{number:04}-")
        assert text.startswith(f"# {number}. ")
        parts = ["**Context.**", "**Decision.**", "**Instead of.**", "**Costs.**", "**Reopen when**"]
        assert all(part in text for part in parts), page.name
