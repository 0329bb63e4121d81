"""`make demo`: one pack's journey, recorded, proven without us, and tampered with.

Every step runs the same commands that partners, auditors and operators run, against a real server and a
real time-stamp authority; each one fails the demo if it does not prove what it should.
"""

from __future__ import annotations

import itertools
import json
import shutil
import signal
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import segno
from rich.console import Console
from rich.markup import escape
from rich.text import Text

from tallystick.demo.journey import PARTIES, build_journey, dispensed_pack
from tallystick.demo.stage import DemoFailed, Stage
from tallystick.demo.tamper import alter_one_byte, copy_database

ORIGIN = "ledger.example/demo"
JOURNEY_TOOK = timedelta(days=8)  # it ended before today, for nobody reports the future
ANCHOR_INTERVAL_S = 2  # a real ledger takes ten minutes; nobody wants to watch that
ANCHOR_TIMEOUT_S = 30.0
STEPS = 8
INDENT = 5
QUIET_ZONE = 4  # modules of white around a code, as ISO/IEC 18004 wants
HALF_BLOCKS = {(0, 0): " ", (1, 0): "▀", (0, 1): "▄", (1, 1): "█"}


def tell(folder: Path, port: int, *, stay: bool) -> int:
    """Run the demo; 0 only if every step proved what it should. stay: serve until interrupted, at the end."""
    story = Story(Console(highlight=False, soft_wrap=False))
    # A service manager asks like a person does: everything that was started ends with the demo.
    for asked in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(asked, signal.default_int_handler)
    try:
        with Stage(folder, port) as stage:
            story.run(stage)
            story.farewell(stage, stay)
    except DemoFailed as failed:
        story.console.print(f"\n[bold red]The demo failed:[/] {escape(str(failed))}")
        return 1
    except KeyboardInterrupt:
        story.console.print("\nInterrupted; everything was stopped.")
        return 130
    return 0


class Story:
    """The demo's words, and what later steps need from earlier ones."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._started = time.monotonic()
        self._step = 0
        self._pack = ""
        self._log_key = ""
        self._receipts: dict[str, int] = {}
        self._pack_entries: list[int] = []

    # --- how it speaks ---------------------------------------------------------------------------

    def heading(self, title: str, why: str) -> None:
        self._step += 1
        self.console.print(f"\n[bold cyan]{self._step}/{STEPS}[/]  [bold]{title}[/]")
        self._indent(f"[dim]{why}[/]")

    def done(self, text: str) -> None:
        self._indent(f"[green]✓[/] {text}", hang=2)

    def typed(self, command: str) -> None:
        self._indent(f"[dim]$[/] [italic]{escape(command)}[/]", hang=2)

    def _indent(self, markup: str, *, indent: int = INDENT, hang: int = 0) -> None:
        """Wrapped, under the heading's words, later lines `hang` further in; without trailing spaces."""
        text = Text.from_markup(markup)
        for number, line in enumerate(text.wrap(self.console, self.console.width - indent - hang)):
            line.rstrip()
            self.console.print(Text(" " * (indent + (hang if number else 0))) + line, soft_wrap=True)

    # --- what happens ------------------------------------------------------------------------------

    def run(self, stage: Stage) -> None:
        self.console.print("[bold]Tallystick[/]: a ledger that lets anyone check what happened to a product.")
        self._indent(
            "[dim]Twenty-four packs of a medicine travel from a factory to a pharmacy. Everybody who touches "
            "them signs what they did. Then we try to cheat.[/]",
            indent=0,
        )
        self.found(stage)
        self.register(stage)
        self.report(stage)
        self.anchor(stage)
        self.download(stage)
        self.verify(stage)
        self.cheat(stage)

    def found(self, stage: Stage) -> None:
        self.heading(
            "A ledger is founded, and everybody gets keys",
            "A key signs; whoever knows its public half can check the signature and cannot forge it.",
        )
        roots = stage.folder / "development-authority.pem"
        authority = stage.start_authority(roots)
        stage.run(
            *("init", str(stage.ledger), "--origin", ORIGIN, "--base-url", stage.url, "--public"),
            *("--registrar-name", "Demo Registry", "--operator-name", "Demo Operator"),
            *("--anchor-interval", str(ANCHOR_INTERVAL_S)),
        )
        shutil.copyfile(roots, stage.ledger / "trust" / "tsa" / "development.pem")
        with (stage.ledger / "tallystick.toml").open("a") as config:
            config.write(
                "\n# For development: it lives on this machine, and its word proves nothing to others.\n"
                "[[anchoring.authorities]]\n"
                f'name = "development-only"\nurl = "{authority}"\nroots = "trust/tsa/development.pem"\n'
            )
        for party in PARTIES.values():
            done = stage.run("keygen", "--out", f"{party.role}.pem", "--json")
            self.done(f"{party.name}, the {party.role}: key {json.loads(done.stdout)['kid'][:12]}…")
        self.done("the operator: one key for the ledger's order, one for its anchors, one for the register")
        # What a verifier pins, from a source that is not the server: here, the founder's copy.
        shutil.copytree(stage.ledger / "trust", stage.folder / "trust")
        policy = (stage.folder / "trust" / "policy").read_text()
        self._log_key = next(line.split()[1] for line in policy.splitlines() if line.startswith("log "))

    def register(self, stage: Stage) -> None:
        self.heading(
            "The keys are registered on the ledger itself",
            "Each party proves that it holds its key. Now anybody can see who could sign, and since when.",
        )
        stage.start_server()
        self.typed(f"tallystick serve ledger        # at {stage.url}")
        for party in PARTIES.values():
            stage.run(
                *("request", "--key", f"{party.role}.pem", "--party", party.id),
                *("--log-key", self._log_key, "--out", f"{party.role}.request"),
            )
            done = stage.run(
                *("register", f"{party.role}.request", "--name", party.name, "--url", stage.url, "--json"),
                *("--key", str(stage.ledger / "keys" / "registrar.pem"), "--log-key", self._log_key),
            )
            self.done(f"{party.name} stands in entry {json.loads(done.stdout)['seq']}")

    def report(self, stage: Stage) -> None:
        start = datetime.now(UTC).replace(hour=6, minute=0, second=0, microsecond=0) - JOURNEY_TOOK
        journey = build_journey(start=start)
        self._pack = dispensed_pack(journey)
        self.heading(
            f"The journey is reported: {len(journey)} signed events",
            "Each event is signed where it happens and kept there until the ledger's receipt is back and was "
            "checked by the sender's own code.",
        )
        for number, (role, group) in enumerate(itertools.groupby(journey, key=lambda item: item[0]), 1):
            events = [event for _, event in group]
            folder = stage.folder / "events" / f"{number}-{role}"
            folder.mkdir(parents=True)
            for index, event in enumerate(events, 1):
                (folder / f"{index:03}.json").write_text(json.dumps(event, indent=1))
            done = stage.run(
                *("send", str(folder), "--url", stage.url, "--key", f"{role}.pem", "--json"),
                *("--log-key", self._log_key, "--outbox", f"{role}.outbox"),
            )
            answer = json.loads(done.stdout)
            if answer["receipted"] != len(events):
                raise DemoFailed(f"{role}: {answer['receipted']} receipts for {len(events)} events")
            self.done(f"{PARTIES[role].name}: {len(events)} events, {_steps(events)}")

    def anchor(self, stage: Stage) -> None:
        self.heading(
            "An outsider time-stamps the ledger",
            "A time-stamp authority signs that it saw this very ledger at this time. Afterwards not even the "
            "operator can rewrite it unnoticed. The demo's own authority is for development only.",
        )
        recorded = stage.get_json("/readyz")["reads"]["tree_size"]
        deadline = time.monotonic() + ANCHOR_TIMEOUT_S
        with self.console.status("     waiting for the next round of anchoring"):
            while True:
                anchors = stage.get_json("/readyz")["anchors"]
                if anchors["anchored_size"] >= recorded:
                    break
                if time.monotonic() > deadline:
                    raise DemoFailed(f"no anchor covered {recorded} entries in time: {anchors}")
                time.sleep(0.2)
        self.done(f"all {recorded} entries are covered by a time stamp of {_clock(anchors['anchored_at'])}")

    def download(self, stage: Stage) -> None:
        self.heading(
            "The evidence for one pack is downloaded, and the server is stopped",
            f"The pack that the pharmacy dispensed: {self._pack}",
        )
        evidence = stage.get("/evidence?epc=" + quote(self._pack, safe=""))
        (stage.folder / "evidence.json").write_bytes(evidence)
        document = json.loads(evidence)
        self._pack_entries = _entry_positions(document)
        self.done(f"evidence.json: {len(evidence):,} bytes, everything that a stranger needs")
        stage.stop_server()
        if stage.is_answering():
            raise DemoFailed("the server still answers after it was stopped")
        self.done("the server is off; nothing below asks it, or anybody, anything")

    def verify(self, stage: Stage) -> None:
        self.heading(
            "Anybody verifies the evidence, offline",
            "With nothing but the file, the pinned keys in trust/, and public standards.",
        )
        self.typed("tallystick verify --trust trust evidence.json")
        done = stage.run("verify", "--trust", "trust", "evidence.json")
        self.quote(done.stdout)
        altered = bytearray((stage.folder / "evidence.json").read_bytes())
        middle = len(altered) // 2
        altered[middle] ^= 1
        (stage.folder / "evidence-altered.json").write_bytes(bytes(altered))
        bad = stage.run("verify", "--trust", "trust", "evidence-altered.json", "--json", expect=None)
        if bad.returncode == 0:
            raise DemoFailed("evidence with an altered byte was accepted")
        self.done("and the same file with one bit altered is not accepted")

    def cheat(self, stage: Stage) -> None:
        self.heading(
            "The operator cheats: one byte of one stored event is altered",
            "In a copy of the database. The ledger's own copy is audited first, for comparison.",
        )
        honest = stage.run(
            "audit", "--database", str(stage.ledger / "ledger.db"), "--trust", "trust", "--json", expect=None
        )
        if honest.returncode != 0:
            raise DemoFailed(f"the untouched ledger did not pass its audit:\n{honest.stdout}{honest.stderr}")
        self.done("the untouched ledger passes: every entry, signature and anchor was read again")
        copy = stage.folder / "copy.db"
        copy_database(stage.ledger / "ledger.db", copy)
        victim = self._pack_entries[len(self._pack_entries) // 2]
        offset, before, after = alter_one_byte(copy, victim)
        self.done(
            f"in the copy, byte {offset} of the event in entry {victim} was “{before}” and is “{after}” now"
        )
        self.typed("tallystick audit --database copy.db --trust trust")
        told = stage.run("audit", "--database", "copy.db", "--trust", "trust", expect=1)
        self.quote(told.stdout)
        read = stage.run("audit", "--database", "copy.db", "--trust", "trust", "--json", expect=1)
        named = json.loads(read.stdout)["faulty_entries"]
        if named != [victim]:
            raise DemoFailed(f"entry {victim} was altered, and the audit named {named}")
        self.done(f"exactly entry {victim} is named, and the command ends with code 1")

    def farewell(self, stage: Stage, stay: bool) -> None:
        self.heading(
            "What the consumer sees",
            "The page behind the code on the pack. It says what was checked, and never more than that.",
        )
        stage.start_server()
        link = stage.url + urlsplit(self._pack).path
        page = stage.get(urlsplit(self._pack).path)
        self.done(f"{link}   ({len(page) / 1000:.0f} KB, no script needed)")
        self._draw_code(link)
        took = time.monotonic() - self._started
        self.console.print(f"\n[bold green]Everything proved what it should.[/] It took {took:.0f} s.")
        folder = escape(_short(stage.folder))
        self._indent(
            f"Look around: [bold]{folder}[/] holds the evidence, the ledger and every outbox.", indent=0
        )
        if stay:
            self.console.print("The page is being served, to this machine only. [bold]Ctrl-C[/] ends it.")
            stage.wait_for_server()

    def quote(self, text: str) -> None:
        for line in text.rstrip("\n").splitlines():
            self.console.print(
                Text(" " * INDENT) + Text("│", "dim") + Text(f" {line}" if line else ""), soft_wrap=True
            )

    def _draw_code(self, link: str) -> None:
        if self.console.is_terminal:
            for line in code_lines(link):
                # Black on white whatever the terminal's colours: many readers refuse an inverted code.
                self.console.print(Text(" " * INDENT) + Text(line, "#000000 on #ffffff"), soft_wrap=True)
        else:
            self._indent("[dim](a QR code of that address is drawn here on a terminal)[/]")


def code_lines(link: str) -> list[str]:
    """A QR code in half blocks, dark modules in the foreground's colour, two rows a line."""
    rows = [list(row) for row in segno.make(link, micro=False, error="m").matrix_iter(border=QUIET_ZONE)]
    if len(rows) % 2:
        rows.append([0] * len(rows[0]))
    return [
        "".join(HALF_BLOCKS[above, below] for above, below in zip(*pair, strict=True))
        for pair in zip(rows[::2], rows[1::2], strict=True)
    ]


def _steps(events: list[dict[str, Any]]) -> str:
    words = dict.fromkeys(str(event.get("bizStep", event["type"])).replace("_", " ") for event in events)
    first = list(words)
    return ", ".join(first if len(first) <= 5 else [*first[:4], f"{len(first) - 4} other steps"])


def _short(folder: Path) -> str:
    """As one would type it from here."""
    here = Path.cwd()
    return str(folder.relative_to(here) if folder.is_relative_to(here) else folder)


def _clock(moment: str) -> str:
    return datetime.fromisoformat(moment).strftime("%H:%M:%S UTC")


def _entry_positions(evidence: dict[str, Any]) -> list[int]:
    """The log positions of the product's own statements in a bundle."""
    return [item["entry"]["seq"] for item in evidence["entries"] if item["entry"]["kind"] == "event"]
