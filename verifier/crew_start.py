"""Step 9 of 9: the start of the processes that audit. Below verifier.crew; imports next to nothing itself.

One process is started afresh, so that nothing of the caller's connections or
locks goes along. It imports what an audit needs, once, while the caller still
does the same; then it forks a worker for each socket that it is sent, opens
nothing itself, has no second thread, and waits for its workers to end.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module

STOP_TIMEOUT_S = 5.0
_COMMAND = (
    "import sys; sys.path[:] = sys.argv[3:];"
    "from verifier.crew_start import raise_crew; raise_crew(int(sys.argv[1]), sys.argv[2])"
)


class CrewStart:
    """The process that workers come from. close() it, or use it in a `with`.

    modules  that workers will need besides those of verifier.crew: how their reader is opened
    """

    def __init__(self, modules: Sequence[str] = ()) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs:
            # Not by multiprocessing.Process: that would load the caller's whole program once more.
            command = [sys.executable, "-c", _COMMAND, str(theirs.fileno()), " ".join(modules), *sys.path]
            self.process = subprocess.Popen(command, pass_fds=[theirs.fileno()])

    def add_worker(self) -> socket.socket:
        """Have one more worker; it runs verifier.crew.work() at the other end. OSError if nobody is there."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                socket.send_fds(self._socket, [b"w"], [theirs.fileno()])
            except BaseException:
                ours.close()
                raise
        return ours

    def close(self) -> None:
        """End the process and its workers; what they are at is lost."""
        self._socket.close()
        self.process.terminate()  # nothing, where it has ended already
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:  # pragma: no cover  # stuck in a read that never ends
            self.process.kill()
            self.process.wait()

    def no_more_workers(self) -> None:
        """From now on the process ends as soon as its workers have."""
        self._socket.close()

    def __enter__(self) -> CrewStart:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def raise_crew(descriptor: int, modules: str) -> None:
    """The process's life: until the caller closes its end and all workers have ended. Does not return."""
    workers: set[int] = set()

    def end(*_: object) -> None:
        for worker in workers:
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGTERM)

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the caller hears it too, and ends us
    for name in modules.split():
        import_module(name)
    from verifier.crew import work

    gc.freeze()  # what was imported lives as long as we do: no worker need look through it
    signal.signal(signal.SIGTERM, end)
    with socket.socket(fileno=descriptor) as caller:
        while sent := socket.recv_fds(caller, 1, 1)[1]:
            worker = os.fork()
            if worker == 0:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                _live(work, caller, sent[0])
            workers.add(worker)
            os.close(sent[0])
    while workers:
        workers.discard(os.wait()[0])
    os._exit(0)


def _live(work: object, caller: socket.socket, descriptor: int) -> None:
    """A worker's life. It ends here, whatever happens: it must not go on as its parent."""
    code = 1
    try:
        caller.close()
        assert callable(work)
        work(descriptor)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)
