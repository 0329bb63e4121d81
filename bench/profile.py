"""Where the time of workers and sequencer goes, by py-spy: a flame graph each, and a table of functions.

py-spy stops a process for each sample, and one tracer at a time can do that: the first half of the time
makes the picture, the second half the table. A profiled run's rates are lower, and no figures to quote.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from bench.watch import Watch

SAMPLES_PER_S = 200
SHOWN = 25
# Threads that wait, which py-spy takes for busy: they cost nothing.
WAITING = ("tallystick/watchdog.py", "concurrent/futures/thread.py", "selectors.py", "resource_tracker.py")


class Profile:
    """Profiles every worker and the sequencer of a server for some seconds."""

    def __init__(self, watch: Watch, folder: Path, name: str, seconds: float) -> None:
        self._watch = watch
        self._folder = folder
        self._name = name
        self._half_s = max(1, int(seconds / 2))
        self._running: list[tuple[str, Path, subprocess.Popen[bytes]]] = []

    def start(self) -> None:
        number = Counter[str]()
        for pid, role in self._watch.roles.items():
            if role not in ("workers", "sequencer") or not _is_python(pid):
                continue
            number[role] += 1
            stem = self._folder / f"{self._name}-{role}-{number[role]}"
            once = [str(Path(sys.executable).with_name("py-spy")), "record", "--pid", str(pid)]
            rate = ["--rate", str(SAMPLES_PER_S), "--duration", str(self._half_s)]
            script = " && ".join(
                " ".join([*once, *rate, "--format", kind, "--output", f"{stem}.{ending}"])
                for kind, ending in (("flamegraph", "svg"), ("raw", "txt"))
            )
            process = subprocess.Popen(
                ["sh", "-c", script], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
            )
            self._running.append((f"{role}-{number[role]}", stem, process))

    def finish(self) -> dict[str, Any]:
        """Wait for py-spy; give, for each process, the functions with the largest share of its own time."""
        found: dict[str, Any] = {}
        for name, stem, process in self._running:
            _, said = process.communicate(timeout=60)
            table = stem.with_suffix(".txt")
            if process.returncode != 0 or not table.exists():
                found[name] = said.decode(errors="replace")[-300:]
                continue
            found[name] = _largest(table.read_text())
            print(f"{name}: {stem}.svg")
            for function, own, whole in found[name][:SHOWN]:
                print(f"    {own:6.1%} own {whole:6.1%} with what it calls   {function}")
        return found


def _largest(raw: str) -> list[tuple[str, float, float]]:
    own, whole, total = Counter[str](), Counter[str](), 0
    for line in raw.splitlines():
        stack, _, text = line.rpartition(" ")
        frames = [frame.rpartition(":")[0] or frame for frame in stack.split(";")]
        if not frames[-1] or any(waiting in frames[-1] for waiting in WAITING):
            continue
        total += int(text)
        own[frames[-1]] += int(text)
        for frame in set(frames):
            whole[frame] += int(text)
    return [(frame, count / total, whole[frame] / total) for frame, count in own.most_common(60)]


def _is_python(pid: int) -> bool:
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
        return b"python" in line.split(b"\0")[0] and b"resource_tracker" not in line
    except OSError:
        return False
