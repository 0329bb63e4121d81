"""Step 5 of 9: who may say what, and who may read what.

Both questions have one answer each, here, so that a finer rule later has one place to go. Whether a
key was valid is another question: keys.registry answers it by log position.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from intake.errors import NotAllowed
from keys import key_statements
from keys.registry import Party

EVENT_TYP = "epcis-event+jws"
DOCUMENT_TYP = "epcis-document+jws"
KEY_TYP = key_statements.TYP_KEY
GENESIS_TYP = key_statements.TYP_GENESIS
ANCHOR_TYP = "anchor+jws"

# The kind of entry that a statement of each class becomes.
KIND_OF_TYP: Mapping[str, str] = {
    EVENT_TYP: "event",
    DOCUMENT_TYP: "event",  # one entry for all of its events
    KEY_TYP: "key",
    ANCHOR_TYP: "anchor",
    GENESIS_TYP: "genesis",
}

# Key statements are not here: keys.registry decides about them by its own, stricter rules.
ROLE_FOR_TYP: Mapping[str, str] = {
    EVENT_TYP: "emitter",
    DOCUMENT_TYP: "emitter",
    ANCHOR_TYP: "operator",
}

# Without these nobody could verify anything. They hold keys and check values, never trade secrets.
ALWAYS_READABLE = frozenset({GENESIS_TYP, KEY_TYP, ANCHOR_TYP})


def require_may_say(party: Party, typ: str) -> None:
    """Raise NotAllowed unless the party's role allows statements of this class."""
    role = ROLE_FOR_TYP.get(typ)
    if role is None or role not in party.roles:
        raise NotAllowed(
            "authority.role",
            f"party {party.id} may not submit {typ}: that needs the role {role or 'nobody has'},"
            f" and it has {', '.join(sorted(party.roles)) or 'none'}",
        )


def may_read(policy: Mapping[str, Any], caller: str | None, typ: str) -> bool:
    """Whether this caller may see the payload of a statement of this class.

    policy  the ledger's policy from genesis; only {"read": "public"} opens payloads to everybody
    caller  a party id once callers can prove who they are; None is anybody

    A document is shown whole or not at all: its signature is over all of it. Refuses unless a rule says
    otherwise.
    """
    return typ in ALWAYS_READABLE or policy.get("read") == "public"
