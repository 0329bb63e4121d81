"""What every test may use. Official vectors live beside the checkout, never in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"
IN_CI = os.environ.get("CI") == "true"


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
