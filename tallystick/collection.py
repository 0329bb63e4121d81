"""How the server's processes let Python look for garbage that refers to itself.

A request makes tens of thousands of small objects that all go by themselves when it is answered. The
collector, left at its defaults, walks them again and again in the meantime: a tenth of a worker's time.
"""

from __future__ import annotations

import gc

YOUNG_COUNT = 50_000  # a batch of a thousand events makes about thirty thousand that live until its answer
MIDDLE_ROUNDS = 20
OLD_ROUNDS = 100


def settle() -> None:
    """Call once a process has loaded what it needs: that is never looked at again, and the rest rarely."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_COUNT, MIDDLE_ROUNDS, OLD_ROUNDS)
