"""Verification must not depend on what else happens to be imported.

The library that reads signed attributes learns those of RFC 3161 only when its `tsp` module is imported.
The development authority imports it, so every test that used both in one process passed, and a verifier
alone refused every good token.
"""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from anchoring.devtsa import DevelopmentAuthority
from anchoring.rfc3161 import build_query

SCRIPT = """
import sys
from pathlib import Path
from anchoring.rfc3161 import TokenVerifier
assert "anchoring.devtsa" not in sys.modules
folder = Path(sys.argv[1])
verifier = TokenVerifier.from_pem((folder / "root.pem").read_bytes())
token = verifier.verify_response((folder / "answer").read_bytes(), b"r" * 32, int(sys.argv[2]))
print(token.authority)
"""


def test_a_verifier_alone_accepts_what_the_authority_stamped(tmp_path: Path) -> None:
    authority = DevelopmentAuthority(lambda: datetime.now(UTC))
    query = build_query(b"r" * 32)
    (tmp_path / "root.pem").write_bytes(authority.root_pem)
    (tmp_path / "answer").write_bytes(authority.answer(query.der))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path), str(query.nonce)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "DEVELOPMENT" in done.stdout
