"""Step 6 of 9: one writing process. Held by ledger.store.sqlite for as long as it may write.

The operating system keeps the lock and drops it when the process ends, however it ends: a lock
file left behind by a crash stands in nobody's way. Within the one process any number may write;
there the comparison of heads decides.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import IO

from ledger.errors import ReadOnly

FILE_MODE = 0o600

# A process may hold one lock file once: the lock is the process's, and closing any second descriptor
# of the file would end it. So it is counted: (process, open file, writers in this process).
_locks: dict[Path, tuple[int, IO[str], int]] = {}
_locks_guard = Lock()


def hold_writer_lock(file: Path) -> Callable[[], None]:
    """Become the one writing process of this file, or raise ReadOnly. Give what ends it."""
    path = Path(f"{file.resolve()}.writer-lock")
    with _locks_guard:
        pid, handle, count = _locks.get(path, (0, None, 0))
        if pid != os.getpid() or handle is None:  # a forked child has the table and not the lock
            handle, count = _lock(path), 0
        _locks[path] = (os.getpid(), handle, count + 1)

    released = False

    def release() -> None:
        nonlocal released
        with _locks_guard:
            if released or _locks.get(path, (0,))[0] != os.getpid():
                return
            released = True
            pid, handle, count = _locks.pop(path)
            if count > 1:
                _locks[path] = (pid, handle, count - 1)
            else:
                handle.close()

    return release


def _lock(path: Path) -> IO[str]:
    try:
        # For this user alone: whoever may open it may hold it.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, FILE_MODE)
        handle = os.fdopen(descriptor, "a+", encoding="ascii")
    except OSError as e:
        raise ReadOnly(
            "ledger.writer.lock", f"the writer's lock {path} cannot be opened: {e.strerror}"
        ) from e
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as e:
        handle.seek(0)
        holder = handle.read(20).strip() or "unknown"
        handle.close()
        raise ReadOnly(
            "ledger.writer.locked",
            f"another process (id {holder}) writes this ledger; one process writes, stop it first: {path}",
        ) from e
    handle.truncate(0)
    handle.write(f"{os.getpid()}\n")
    handle.flush()
    return handle
