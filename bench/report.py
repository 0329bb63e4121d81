"""A run's figures: held against their targets, as a table, and as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.cases import AUDIT, AUDIT_RATIO_MIN, MEMORY_MIB_MAX, Case

ROLES = ("workers", "sequencer", "projector", "parent", "postgresql", "load")


def judge(result: dict[str, Any], floor_rate: float, case: Case | None) -> None:
    """Add the ratio to the floors around the case, and each target with whether it is met."""
    result["floor_verifications_per_s"] = round(floor_rate)
    result["ratio_to_floor"] = round(result["events_per_s"] / floor_rate, 3)
    targets: list[tuple[str, str, float]] = []
    if case is None:
        targets.append(("ratio_to_floor", ">=", AUDIT_RATIO_MIN))
    else:
        targets += [("ratio_to_floor", ">=", case.ratio_min)] if case.ratio_min else []
        targets += [("p99_ms", "<=", case.p99_ms_max)] if case.p99_ms_max else []
        targets += [("epc_rows_per_s", ">=", case.epc_rows_per_s_min)] if case.epc_rows_per_s_min else []
        targets.append(("memory_mib", "<=", MEMORY_MIB_MAX))
    result["targets"] = [_target(result, *target) for target in targets]
    result["met"] = all(target["met"] for target in result["targets"])


def _target(result: dict[str, Any], what: str, relation: str, bound: float) -> dict[str, Any]:
    # Several processes share a page once: what they hold together is the proportional size.
    seen = result["memory_mib"]["pss_of_server"] if what == "memory_mib" else result[what]
    met = seen >= bound if relation == ">=" else seen <= bound
    return {"what": what, "is": seen, "relation": relation, "target": bound, "met": met}


def head(floor_rate: float, fsync: float) -> None:
    print(
        f"floor: {floor_rate:,.0f} Ed25519 verifications/s on two cores;"
        f" {fsync:.2f} ms to append 4 KiB and sync"
    )
    print()
    print(
        f"{'':<60}{'bytes an':>10}  CPU µs an event{'':<34}memory in MiB\n"
        f"{'case':<15}{'store':<11}{'events/s':>9}{'of floor':>9}{'target':>8}{'p50 ms':>9}{'p99 ms':>9}"
        f"{'event':>8}{''.join(f'{role[:9]:>10}' for role in ROLES)}{'PSS':>8}{'peak':>6}"
    )


def show(result: dict[str, Any]) -> None:
    ratio = next((t for t in result["targets"] if t["what"] == "ratio_to_floor"), None)
    target = "" if ratio is None else f"{ratio['relation']}{ratio['target']:.2f}"
    line = (
        f"{result['name']:<15}{result['store']:<11}{result['events_per_s']:>9,}{result['ratio_to_floor']:>9.3f}"
        f"{target:>8}"
    )
    if result["name"] != AUDIT:
        cpu, memory = result["cpu_us_per_event"], result["memory_mib"]
        line += f"{result['p50_ms']:>9.1f}{result['p99_ms']:>9.1f}{result['bytes_per_event']:>8,}"
        line += "".join(f"{cpu[role]:>10.1f}" if role in cpu else " " * 10 for role in ROLES)
        line += f"{memory['pss_of_server']:>8.0f}{memory['peak_rss_of_server']:>6.0f}"
    print(line)
    for missed in (t for t in result["targets"] if not t["met"]):
        print(
            f"{'':<15}not met: {missed['what']} is {missed['is']:,},"
            f" wanted {missed['relation']} {missed['target']:,}"
        )
    if result.get("load_ran_out"):
        print(f"{'':<15}the load ran out after {result['seconds']} s")
    if result["name"] == "commission1000":
        print(f"{'':<15}{result['epc_rows_per_s']:,} EPC rows/s")
    if result.get("duplicates"):
        print(f"{'':<15}{result['duplicates']:,} statements were resent, and found to stand there already")
    print(end="", flush=True)


def foot(document: dict[str, Any]) -> None:
    floor = document["floor"]
    met = sum(result["met"] for result in document["cases"])
    print()
    print(
        f"The floor was {floor['least']:,} to {floor['most']:,} (mean {floor['verifications_per_s']:,});"
        " a ratio uses the two floors beside its case.\nThe load ran on the same cores. Memory is that of our"
        " own processes; the peak counts shared pages once for each.\n"
        f"{met} of {len(document['cases'])} cases meet their targets."
    )


def plot(results: list[dict[str, Any]], path: Path) -> None:
    """Rate against the size of the ledger, one panel a store."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    found = list(dict.fromkeys(result["store"] for result in results))
    figure, axes = pyplot.subplots(len(found), 1, figsize=(9, 3.6 * len(found)), squeeze=False)
    for store, (axis,) in zip(found, axes, strict=True):
        for result in results:
            if result["store"] == store and "timeline" in result:
                sizes, rates = zip(*result["timeline"], strict=True)
                axis.plot(sizes, rates, marker=".", linewidth=1, label=result["name"])
        floors = [r["floor_verifications_per_s"] for r in results if r["store"] == store]
        axis.axhline(sum(floors) / len(floors), color="grey", linestyle=":", label="floor (verifications/s)")
        axis.set(title=store, xlabel="entries in the ledger", ylabel="events a second")
        axis.set_ylim(bottom=0)
        axis.legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def machine() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "unknown"
