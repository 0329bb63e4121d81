"""Step 4 of 9: one run of the validator: the faults found so far, and the prefixes declared there."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from keys.errors import Fault
from traceability.epcis import vocabulary as words
from traceability.epcis.formats import is_uri
from traceability.errors import EventFault

FAULTS_MAX = 10_000  # beyond that the sender has one systematic mistake, and our answer becomes the burden

# Schemes that make a name absolute though no prefix was declared; with // behind it, any scheme does.
_ABSOLUTE = frozenset(("urn", "tag", "ni", "did"))


class _Found:
    """The faults so far, shared by all parts of a run."""

    __slots__ = ("dropped", "faults")

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.dropped = 0


class Run:
    """Collects faults in document order, at most FAULTS_MAX of them.

    contexts  every @context that holds where the run stands
    now       what event times are compared with; None if they are not
    frames    what accepted.py knows events by here; None if it is not to be asked
    """

    __slots__ = ("_contexts", "_found", "_open", "_outer", "_prefixes", "frames", "now")

    def __init__(self, *contexts: Any, now: datetime | None = None) -> None:
        self.now = now
        self.frames: bytes | None = None
        self._found = _Found()
        self._contexts = contexts
        self._outer: Run | None = None  # whose prefixes hold here too, read once for all that stand within
        self._prefixes: set[str] | None = None
        self._open = False

    def add(self, code: str, pointer: str, detail: str, fix: str) -> None:
        """Note one fault: `detail` says what was seen and expected, `fix` how to put it right."""
        if len(self._found.faults) < FAULTS_MAX:
            self._found.faults.append(EventFault(code, detail, pointer, fix))
        else:
            self._found.dropped += 1

    @property
    def is_bare(self) -> bool:
        """Whether no @context holds here yet: then an event must bring its own."""
        return not self._contexts and (self._outer is None or self._outer.is_bare)

    @property
    def count(self) -> int:
        """How many faults there are so far."""
        return len(self._found.faults) + self._found.dropped

    def finish(self) -> list[Fault]:
        """The faults, with a last one that counts those beyond FAULTS_MAX."""
        faults = self._found.faults
        if self._found.dropped:
            more = f"{self._found.dropped} more faults are not listed"
            faults.append(EventFault("epcis.faults", more, "", "Correct the listed ones first."))
        return faults

    def check_name(self, name: str, pointer: str) -> bool:
        """Whether a name with a colon is a URI whose prefix is declared; if not, that is a fault."""
        if not is_uri(name):
            self.add(
                "epcis.name",
                pointer,
                f"{name[:64]!r} is not a URI, as a name with a colon must be",
                _NAME_FIX,
            )
            return False
        if not self._declares(name):
            prefix = name.partition(":")[0]
            self.add(
                "epcis.prefix",
                pointer,
                f"the prefix {prefix[:64]!r} is declared nowhere in @context",
                f'Add {{"{prefix[:64]}": "https://…"}} to @context, or write the name out as a full URI.',
            )
            return False
        return True

    def nested(self, context: Any) -> Run:
        """A run for a part that brings a @context of its own; its faults join these."""
        inner = Run(context, now=self.now)
        inner._found, inner._outer = self._found, self
        return inner

    def _declares(self, name: str) -> bool:
        prefix, _, rest = name.partition(":")
        if prefix in words.STANDARD_PREFIXES or prefix in _ABSOLUTE or rest.startswith("//"):
            return True
        run: Run | None = self
        while run is not None:
            prefixes = run._prefixes if run._prefixes is not None else run._read_contexts()
            if run._open or prefix in prefixes or name in prefixes:
                return True
            run = run._outer
        return False

    def _read_contexts(self) -> set[str]:
        prefixes: set[str] = set()
        for context in self._contexts:
            for part in context if isinstance(context, list) else [context]:
                if isinstance(part, dict):
                    prefixes.update(part)
                elif isinstance(part, str) and not part.startswith(words.CONTEXT_URL_STEM):
                    # A context at another address may declare anything, and nothing is fetched to find out.
                    self._open = True
        self._prefixes = prefixes
        return prefixes


_NAME_FIX = "Write prefix:name with a prefix that @context declares."


def kind_of(value: Any) -> str:
    """What JSON calls it, for messages."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, str):
        return f"the string {value[:64]!r}"
    if isinstance(value, int | float):
        return f"the number {value}"
    return "an array" if isinstance(value, list) else "an object"


def escape(name: str) -> str:
    """A member name as a JSON pointer holds it (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1") if "~" in name or "/" in name else name
