"""What docs/query.md shows is read."""

from __future__ import annotations

from pathlib import Path

from traceability.queries.parameters import parse_url

PAGE = Path(__file__).resolve().parents[2] / "docs" / "query.md"


def test_every_query_of_the_page_is_one():
    shown = [line.strip() for line in PAGE.read_text().splitlines() if line.startswith("    GET /events?")]
    assert len(shown) == 4
    for line in shown:
        assert parse_url(line.partition("?")[2], others={"proof"}).filters
