"""Keeps one projector process running, beside the sequencer. Used by tallystick.serve."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

STOP_TIMEOUT_S = 5.0
RESTART_PAUSE_S = 1.0

logger = logging.getLogger("tallystick.serve")


class ProjectorSupervisor:
    """Starts it, starts it again when it ends, and ends it. Nothing waits for it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._guard = threading.Lock()

    def start(self) -> None:
        threading.Thread(target=self._watch, name="projector-watch", daemon=True).start()

    def stop(self) -> None:
        with self._guard:
            self._stopping.set()
            process = self._process
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()  # a step that is cut off never happened
            process.wait()

    def _watch(self) -> None:
        while True:
            with self._guard:
                if self._stopping.is_set():
                    return
                self._process = process = subprocess.Popen(
                    [
                        sys.executable,
                        "-m",
                        "tallystick.projector_process",
                        str(self._folder),
                        str(os.getpid()),
                    ],
                    stdin=subprocess.DEVNULL,
                )
            code = process.wait()
            if self._stopping.wait(RESTART_PAUSE_S):
                return
            if code:
                logger.error("the index of events ended with code %s; starting it again", code)
