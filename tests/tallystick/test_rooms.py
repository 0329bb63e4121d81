"""The names of our rooms are generic, so: they are ours, all of them are packaged, and arrows go one way."""

from __future__ import annotations

import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = (
    "keys",
    "ledger",
    "traceability",
    "projection",
    "subscriptions",
    "anchoring",
    "intake",
    "verifier",
    "api",
    "client",
    "tallystick",
)


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_that_is_imported_is_ours(room: str) -> None:
    module = importlib.import_module(room)
    assert module.__file__ is not None
    assert Path(module.__file__).resolve() == ROOT / room / "__init__.py"


def test_every_package_is_listed_and_every_listed_one_exists() -> None:
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    found = {
        ".".join(init.parent.relative_to(ROOT).parts)
        for room in ROOMS
        for init in (ROOT / room).rglob("__init__.py")
    }
    assert listed == found


@pytest.mark.parametrize("module", ["verifier.evidence", "verifier.receipt", "verifier.trust"])
def test_the_verifier_loads_no_sql_no_web_and_no_scheduler(module: str) -> None:
    script = (
        f"import sys, {module}\n"
        "heavy = {'sqlalchemy', 'flask', 'apscheduler', 'granian', 'merkletools', 'werkzeug'}\n"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
