"""AnchoringError
├─ TokenMalformed      the time-stamp cannot be read: blame the authority
├─ TokenRefuted        it reads well and is false: other bytes, nonce, signature or certificate
├─ TokenUnverifiable   its certificate leads to no pinned root: say so, decide nothing
├─ RecordMalformed     the anchor statement's payload cannot be read
├─ RecordRefuted       its path does not lead from the checkpoint to the stamped root
├─ AuthorityFailed     no usable answer: down, slow, garbage, or a refusal: ask again later
├─ CheckpointRefused   the published checkpoint must not be anchored: another log's, or smaller than before
├─ SubmitFailed        the ledger did not (or not knowingly) take the anchor statement: submit it again
└─ RoundsFailed        our own tables could not be read or written: nothing is lost, try again
"""

from __future__ import annotations

from keys.errors import Fault, Malformed, NotYet, Refused, Refuted, Unverifiable


class AnchoringError(Fault):
    """Anything the anchoring room raises on purpose."""


class TokenMalformed(AnchoringError, Malformed):
    """Not the DER of an RFC 3161 answer or token."""


class TokenRefuted(AnchoringError, Refuted):
    """The token says something else than it must, or its signature is bad."""


class TokenUnverifiable(AnchoringError, Unverifiable):
    """Nobody pinned the root this token's certificate leads to."""


class RecordMalformed(AnchoringError, Malformed):
    """Not the canonical payload of an anchor statement."""


class RecordRefuted(AnchoringError, Refuted):
    """The batch does not hold the checkpoint at that index."""


class AuthorityFailed(AnchoringError, NotYet):
    """This time the authority gave no token."""


class CheckpointRefused(AnchoringError, Refused):
    """Time-stamping this checkpoint would lend weight to a fork or to a stranger."""


class SubmitFailed(AnchoringError, NotYet):
    """The round stays open; the same bytes are submitted again."""


class RoundsFailed(AnchoringError, NotYet):
    """A durable step failed, or it is not known to have happened."""
