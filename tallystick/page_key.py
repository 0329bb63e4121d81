"""The key that this server's page tokens are authenticated with: a file in the ledger's folder.

    page-token.key    32 random bytes, for this user alone; made when it is missing

All workers share it. Servers of one ledger on several machines must be given the same one, or a page's next
page is refused wherever another machine answers. To end every token at once, delete it and start again.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from keys.errors import Malformed
from traceability.queries.tokens import KEY_SIZE

NAME = "page-token.key"
FILE_MODE = 0o600


def load_or_make(folder: Path) -> bytes:
    """The key of this folder. Raises Malformed where the file holds something else."""
    file = folder / NAME
    if not file.exists():
        made = folder / f".{NAME}.{os.getpid()}"
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
        raise Malformed(
            "config.page-key", f"{file} holds {len(key)} bytes; a page token's key has {KEY_SIZE}"
        )
    return key
