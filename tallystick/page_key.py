"""Keys of this server's own, in the ledger's folder: 32 random bytes each, made when they are missing.

    page-token.key      page tokens are authenticated with it; delete it to end every token at once
    subscriptions.key   subscribers' signature tokens are sealed with it in the database; keep it

All processes share them, and no one else may read them. Servers of one ledger on several machines must be
given the same ones: another page key refuses the next page of what this one began, and without the
subscription key nothing that subscribers can verify is sent.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from keys.errors import Malformed
from traceability.queries.tokens import KEY_SIZE

NAME = "page-token.key"
SUBSCRIPTIONS = "subscriptions.key"
FILE_MODE = 0o600


def load_or_make(folder: Path, name: str = NAME) -> bytes:
    """One key of this folder. Raises Malformed where the file holds something else."""
    file = folder / name
    if not file.exists():
        made = folder / f".{name}.{os.getpid()}"
        with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, FILE_MODE), "wb") as handle:
            handle.write(secrets.token_bytes(KEY_SIZE))
        try:
            os.link(made, file)  # whole or not at all; of several workers the first one's stands
        except FileExistsError:
            pass
        finally:
            made.unlink()
    key = file.read_bytes()
    if len(key) != KEY_SIZE:
        raise Malformed("config.page-key", f"{file} holds {len(key)} bytes; such a key has {KEY_SIZE}")
    return key
