"""A child that outlives its parent must end itself.

A worker whose parent was killed goes on holding the port and answering, with nobody to stop it or to
start its sequencer again: the next server would share its port with a ghost.
"""

from __future__ import annotations

import os
import threading
import time

POLL_S = 0.2
ORPHANED_EXIT = 70


def end_with_parent(parent_pid: int) -> None:
    """Start a thread that ends this process at once when parent_pid is no longer its parent.

    Nothing is lost by ending at once: what was not committed was not acknowledged.
    """

    def watch() -> None:
        while os.getppid() == parent_pid:
            time.sleep(POLL_S)
        os._exit(ORPHANED_EXIT)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
