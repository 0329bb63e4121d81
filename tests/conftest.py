"""What every test may use. Official vectors live beside the checkout, never in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import tt_postgres
from hypothesis import HealthCheck, settings

SHARED = Path(__file__).resolve().parents[2] / "shared"
IN_CI = os.environ.get("CI") == "true"

# A shared machine may stand still for a moment in the middle of an example: time is never what is tested.
settings.register_profile(
    "house", deadline=None, derandomize=IN_CI, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("house")


def skip_unless_ci(reason: str) -> None:
    """Skip with a reason; in CI nothing may be skipped, so there it fails instead."""
    if IN_CI:
        pytest.fail(f"CI may skip nothing: {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of official artefacts and vectors."""
    if not SHARED.is_dir():
        skip_unless_ci(f"the official vectors are not here: {SHARED.name}/ beside the checkout")
    return SHARED


@pytest.fixture(scope="session")
def postgres_binaries() -> Path:
    """The folder of PostgreSQL's programs."""
    binaries = tt_postgres.find_binaries()
    if binaries is None:
        skip_unless_ci("no PostgreSQL 15 or newer here; bin/ensure-postgres installs it")
    return binaries


@pytest.fixture(scope="session")
def postgres(postgres_binaries: Path) -> Iterator[tt_postgres.Cluster]:
    """A PostgreSQL of this run's own, started once and gone afterwards."""
    cluster = tt_postgres.make_cluster(postgres_binaries)
    yield cluster
    cluster.stop()


@pytest.fixture
def own_cluster(postgres_binaries: Path) -> Iterator[tt_postgres.Cluster]:
    """One that may be killed without harm to other tests."""
    cluster = tt_postgres.make_cluster(postgres_binaries)
    yield cluster
    cluster.stop()
