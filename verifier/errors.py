"""VerifierError
├─ TrustMalformed    the trust directory cannot be read: blame whoever wrote it
├─ StateMalformed    an audit's state file cannot be read or written: wrong usage, and no verdict
├─ BundleMalformed   the file is not an evidence bundle, or breaks its format
├─ EvidenceRefuted   it reads well and is false: raise the alarm
├─ EvidenceDoubtful  unaltered, and still not to be relied on
├─ EvidenceIncomplete  something that is needed was left out: decide nothing
├─ NotPinned         nobody pinned the key, ledger or authority this rests on: decide nothing
├─ SourceFailed      a ledger read by its address did not answer as it should: nothing is decided
└─ NoEvidence        there is nothing to bundle, or more than one bundle may hold
"""

from __future__ import annotations

from keys.errors import Fault, Malformed, NotYet, Refused, Refuted, Unverifiable


class VerifierError(Fault):
    """Anything the verifier's room raises on purpose."""


class TrustMalformed(VerifierError, Malformed):
    """A file of the trust directory breaks its format."""


class StateMalformed(VerifierError, Malformed):
    """The file given to an audit is not its state file, or no file can be written there."""


class BundleMalformed(VerifierError, Malformed):
    """Not the canonical bytes of an evidence bundle."""


class EvidenceRefuted(VerifierError, Refuted):
    """What the file claims is not so."""


class EvidenceDoubtful(VerifierError, Refused):
    """It verifies, and something that became known later speaks against it."""


class EvidenceIncomplete(VerifierError, Unverifiable):
    """What is there may be right, but a part that is needed is not there."""


class NotPinned(VerifierError, Unverifiable):
    """It may be right, but rests on something nobody pinned."""


class SourceFailed(VerifierError, NotYet):
    """The ledger's server is silent, or answers something else than was asked."""


class NoEvidence(VerifierError, Refused):
    """No bundle can be made of this."""
