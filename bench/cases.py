"""What is measured, and what it is held against. Names and targets are those of docs/performance.md."""

from __future__ import annotations

from dataclasses import dataclass

from bench.load import EPCS_PER_EVENT
from bench.pool import Kind
from bench.shapes import Mix

PLAIN = Kind(EPCS_PER_EVENT, 10_000)
BORN = Kind(1000, 500)
MIXED = Kind(0, 10_000, Mix())

MEMORY_MIB_MAX = 600.0  # of all our own processes


@dataclass(frozen=True, slots=True)
class Case:
    """One load.

    ceiling    events/s for which load is made ready; whoever is faster runs out of it, which is told
    ratio_min  events a second through verifications a second; None where that is not the question
    """

    name: str
    kind: Kind
    batch: int
    clients: int
    ceiling: int
    ratio_min: float | None = None
    p99_ms_max: float | None = None
    epc_rows_per_s_min: float | None = None

    def statements(self, seconds: float) -> int:
        """How many are made ready: what the time asks for, and a few rounds that are under way at its end."""
        return round(self.ceiling * seconds) + 4 * self.batch * self.clients


CASES = (
    Case("batch1000", PLAIN, 1000, 8, 36_000, ratio_min=0.50),
    Case("batch100", PLAIN, 100, 16, 30_000, ratio_min=0.40),
    Case("single64", PLAIN, 1, 64, 12_000, ratio_min=0.12, p99_ms_max=50.0),
    Case("commission1000", BORN, 10, 8, 1_000, epc_rows_per_s_min=400_000),
    Case("mixed", MIXED, 100, 16, 20_000),
)
AUDIT = "audit"
AUDIT_RATIO_MIN = 0.80
NAMES = (*(case.name for case in CASES), AUDIT)
