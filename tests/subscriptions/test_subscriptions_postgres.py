"""Subscriptions in PostgreSQL: made by many at once, shared, and gone with their query."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from projection.kept import KeptQueries, open_kept
from subscriptions.controls import parse_body
from subscriptions.errors import NoSuchSubscription
from subscriptions.store import Pending, Subscriptions
from subscriptions.targets import TargetRules
from traceability.errors import NoSuchQuery

KEY = b"s" * 32
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
TOKEN = "13df38d8275b13f05704629e5f1cf3d45d6132d5"


def test_they_are_kept(postgres) -> None:
    address = postgres.new_database()

    def opened(_: int) -> tuple[KeptQueries, Subscriptions]:
        kept = open_kept(address)
        return kept, Subscriptions(kept, KEY)

    with ThreadPoolExecutor(6) as pool:  # as the workers of a server do, on a database that has no tables yet
        found = list(pool.map(opened, range(6)))
    (kept, one), (_, other) = found[:2]
    kept.create("all", {}, NOW)
    webhook = parse_body(
        {"dest": "https://partner.example/", "signatureToken": TOKEN, "schedule": {"hour": "6"}},
        NOW,
        TargetRules(),
    )
    made = one.create("all", webhook, "Never_Translates", NOW)
    seen = other.read("all", made.id)
    assert seen == made
    assert other.token_of(seen) == TOKEN
    progress = replace(seen.progress, seq=7, pending=Pending("d", 8, 0, "2026-11-20T12:00:00Z"), failures=3)
    other.save(made.id, progress)
    assert one.find(made.id).progress == progress
    assert [each.id for each in one.page("all", "", 5)] == [made.id]
    kept.delete("all")
    assert one.ids() == set()
    with pytest.raises(NoSuchSubscription):
        other.save(made.id, progress)
    with pytest.raises(NoSuchQuery):
        one.create("all", webhook, "Never_Translates", NOW)
    for each, _ in found:
        each.close()
