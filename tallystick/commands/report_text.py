"""A report as text, for somebody who has never heard of Merkle trees. Colours only help; words say it all."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import click
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from verifier.verdict import Check, Report, Verdict, worst

PLAIN_WIDTH = 100  # columns where the output is no terminal, and COLUMNS does not say
PLAIN_WIDTH_MIN, PLAIN_WIDTH_MAX = 40, 400
SEQS_NAMED_MAX = 20

_LABELS = {
    "file": "File",
    "checkpoint": "Ledger's signature",
    "witnesses": "Witnesses",
    "genesis": "Right ledger",
    "inclusion": "In the ledger",
    "ledger": "Order and content",
    "statements": "Statements",
    "statement": "Statement",
    "key-history": "History of keys",
    "signatures": "Signatures",
    "key-state": "Keys in safe hands",
    "subject": "Product",
    "anchors": "Outside time",
    "times": "Ledger's clock",
    "kept-checkpoint": "Earlier checkpoint",
    "fork": "One history",
}
_WORDS = {
    "ok": ("ok", "green"),
    "bad": ("FALSE", "bold red"),
    "suspect": ("DOUBT", "bold yellow"),
    "unknown": ("unknown", "yellow"),
    "not-yet": ("not yet", "cyan"),
    "not-checked": ("not checked", "dim"),
}
_VERDICT_STYLES = {
    Verdict.VALID: "bold green",
    Verdict.NOT_YET_ANCHORED: "bold cyan",
    Verdict.UNKNOWN_KEY: "bold yellow",
    Verdict.SUSPECT: "bold yellow",
    Verdict.INVALID: "bold red",
}
# What went wrong first: it is what a reader came for.
_ORDER = ("bad", "suspect", "unknown", "not-yet", "ok", "not-checked")


def print_report(source: str, report: Report, *, elapsed_s: float | None = None) -> None:
    """One file's or ledger's report on standard output."""
    with _console() as console:
        _print_report(console, source, report, elapsed_s)


def _print_report(console: Console, source: str, report: Report, elapsed_s: float | None) -> None:
    console.print(Text(source, style="bold"))
    if report.subject not in source:
        console.print(_indented(Text(f"about {_printable(report.subject)}")))
    console.print()
    headline = Text.assemble(
        (report.verdict.value, _VERDICT_STYLES[report.verdict]), "  ", report.verdict.meaning
    )
    console.print(_indented(headline))
    if report.faulty_seqs and report.kind == "ledger":
        console.print(_indented(Text(f"Faulty: {_name_entries(report.faulty_seqs)}.", style="bold red")))
    console.print()
    console.print(_indented(Text("What was checked", style="bold")))
    console.print(_indented(_rows(report.checks), 4))
    if report.checks_left_out:
        console.print(_indented(Text(f"and {report.checks_left_out:,} more rows"), 4))
    if report.not_checked:
        console.print()
        console.print(_indented(Text("What was not checked", style="bold")))
        notes = Table.grid(padding=(0, 1))
        notes.add_column(no_wrap=True)
        notes.add_column(overflow="fold")
        for sentence in report.not_checked:
            notes.add_row("-", Text(_printable(sentence)))
        console.print(_indented(notes, 4))
    _print_facts(console, report, elapsed_s)
    console.print()


def print_summary(reports: Sequence[Report], forks: Sequence[Check]) -> None:
    """What several files come to together; nothing for a single one."""
    with _console() as console:
        if forks:
            console.print(_rows(forks))
            console.print()
        if len(reports) > 1:
            verdict = worst(report.verdict for report in reports)
            word = (verdict.value, _VERDICT_STYLES[verdict])
            console.print(Text.assemble(f"All {len(reports)} together: ", word, "  ", verdict.meaning))


def _rows(checks: Iterable[Check]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")  # a digest that is cut off is none
    for check, seqs in _grouped(checks):
        word, style = _WORDS[check.outcome]
        where = f"{_name_entries(seqs).capitalize()}: " if seqs and check.outcome != "ok" else ""
        detail = Text(
            _printable(where + (check.detail if where else check.detail[:1].upper() + check.detail[1:]))
        )
        if check.code and check.outcome != "ok":
            detail.append(f"  [{check.code}]", style="dim")
        table.add_row(Text(word, style=style), _LABELS.get(check.name, check.name), detail)
    return table


def _grouped(checks: Iterable[Check]) -> list[tuple[Check, list[int]]]:
    """Rows that say the same of several entries as one row, with the entries; the worst rows first."""
    groups: dict[tuple[str, str, str, str], tuple[Check, list[int]]] = {}
    for check in checks:
        key = (check.outcome, check.name, check.detail, check.code)
        _, seqs = groups.setdefault(key, (check, []))
        if check.seq is not None:
            seqs.append(check.seq)
    return sorted(groups.values(), key=lambda group: _ORDER.index(group[0].outcome))


def _print_facts(console: Console, report: Report, elapsed_s: float | None) -> None:
    lines = []
    signers = report.facts.get("signers")
    if signers:
        lines.append("Signed by " + ", ".join(f"{s['name']} ({s['party']})" for s in signers) + ".")
    if "state_of" in report.facts:
        lines.append(
            f"The file shows the ledger as it was at {report.facts['state_of'][:19].replace('T', ' ')} UTC,"
            f" with {report.facts['tree_size']:,} entries."
        )
    if elapsed_s is not None and "entries_checked" in report.facts:
        count = report.facts["entries_checked"]
        left = report.facts.get("resumed_from", 0)  # to an earlier audit
        rate = f", {(count - left) / elapsed_s:,.0f} a second" if elapsed_s > 1 else ""
        lines.append(
            f"Read {count:,} entries, {report.facts['signatures_checked']:,} signatures and"
            f" {report.facts['anchors']:,} outside time-stamps in {elapsed_s:.1f} s{rate}."
        )
    if "state_refused" in report.facts:
        lines.append(f"About the state file: {report.facts['state_refused']}.")
    if lines:
        console.print()
        for line in lines:
            console.print(_indented(Text(_printable(line))))


def _name_entries(seqs: Sequence[int]) -> str:
    named = ", ".join(str(seq) for seq in seqs[:SEQS_NAMED_MAX])
    more = f" and {len(seqs) - SEQS_NAMED_MAX:,} more" if len(seqs) > SEQS_NAMED_MAX else ""
    return f"{'entry' if len(seqs) == 1 else 'entries'} {named}{more}"


def _indented(what: Text | Table, columns: int = 2) -> Padding:
    return Padding(what, (0, 0, 0, columns), expand=False)


def _printable(text: str) -> str:
    """What a file says of itself must not steer the reader's terminal."""
    return "".join(char if char.isprintable() else "?" for char in text)


@contextmanager
def _console() -> Iterator[Console]:
    """Standard output: as it is on a terminal, and without the padding of tables anywhere else."""
    console = Console(highlight=False, markup=False, emoji=False)
    if console.is_terminal:
        yield console
        return
    written = io.StringIO()
    yield Console(file=written, highlight=False, markup=False, emoji=False, width=_plain_width())
    for line in written.getvalue().splitlines():
        click.echo(line.rstrip())


def _plain_width() -> int:
    """What COLUMNS asks for, as whoever quotes the output somewhere else does, within reason."""
    asked = os.environ.get("COLUMNS", "")
    if not asked.isascii() or not asked.isdecimal() or len(asked) > 4:
        return PLAIN_WIDTH
    return min(max(int(asked), PLAIN_WIDTH_MIN), PLAIN_WIDTH_MAX)
