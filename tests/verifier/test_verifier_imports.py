"""The verifier is small enough to be read by a stranger: it brings no database and no web server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FORBIDDEN = {
    "sqlalchemy",
    "alembic",
    "flask",
    "werkzeug",
    "jinja2",
    "apscheduler",
    "granian",
    "sqlite3",
    "merkletools",
}

SCRIPT = """
import pkgutil, importlib, sys
import verifier
for module in pkgutil.iter_modules(verifier.__path__):
    importlib.import_module("verifier." + module.name)
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_no_module_of_the_verifier_loads_sql_a_web_server_or_a_scheduler() -> None:
    done = run(SCRIPT)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) & FORBIDDEN == set()


def test_bundles_are_verified_without_any_http_client_either() -> None:
    done = run("import sys, verifier.evidence, verifier.receipt, verifier.trust; print(*sys.modules)")
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert loaded & (FORBIDDEN | {"httpx2", "httpcore2", "http"}) == set()


def test_a_process_of_its_own_verifies_what_another_one_made(tmp_path: Path) -> None:
    """Whatever other modules happen to be loaded must make no difference."""
    from tt_evidence import identity, make_world

    from verifier.trust import write_trust

    world = make_world()
    genesis = world.trust().genesis
    assert genesis is not None
    (tmp_path / "evidence.json").write_bytes(world.bundle())
    write_trust(
        tmp_path / "trust",
        origin=world.origin,
        genesis_leaf_hash=genesis.leaf_hash,
        log_vkeys=[world.verifiers[0].vkey],
        tsa_roots={"dev": identity("tsa").root_pem},
    )
    done = run(
        "import sys; from pathlib import Path; from verifier import evidence, trust;"
        "folder = Path(sys.argv[1]);"
        "raw = (folder / 'evidence.json').read_bytes();"
        "report = evidence.verify(raw, trust.load_trust(folder / 'trust'));"
        "print(report.verdict.value, [c.detail for c in report.checks if c.outcome != 'ok'])",
        str(tmp_path),
    )
    assert done.stdout == "VALID []\n", done.stderr
