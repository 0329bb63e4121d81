"""Step 7 of 9: rounds of anchoring. After ledger.log has published a checkpoint, before its anchor entry.

    due ─► started ─► stamped ─► signed ─► finished
           batch      tokens     statement  seq of the entry      what is durable before the next step

Each arrow is one transaction, and every step outside (a time-stamp authority, the ledger) stands between
two of them. So a crash anywhere loses no round, and doubles none: a round that was started is continued
before another is begun, and a statement that was signed is submitted again as the same bytes, which the
ledger answers with the first entry. However many processes tick, one works at a time: it holds a lease
that expires, and every transaction first makes sure that the lease is still its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from enum import Enum
from typing import Any, Protocol

from sqlalchemy import Engine, Row, and_, func, insert, select, update

from anchoring import batch, record
from anchoring.database import ERROR_LENGTH_MAX, span, to_microseconds
from anchoring.errors import (
    AnchoringError,
    AuthorityFailed,
    CheckpointRefused,
    RoundsFailed,
    SubmitFailed,
)
from anchoring.lease import Lease, LeaseLost
from anchoring.rfc3161 import Token, TokenVerifier, build_query
from anchoring.rounds_reader import (
    NEWEST_FINISHED,
    UNFINISHED,
    AuthorityStatus,
    Clock,
    Policy,
    RoundsReader,
    Status,
    leaves_of,
    read_record,
    tokens_of,
)
from anchoring.schema import anchor_leaves, anchor_rounds, anchor_tokens
from keys import envelope, note
from keys.algorithms import PrivateKey
from keys.errors import Fault, Malformed
from ledger import checkpoint as checkpoints

__all__ = ["Authority", "AuthorityStatus", "Outcome", "Policy", "Rounds", "RoundsReader", "Status"]


class Authority(Protocol):
    """Whoever time-stamps: authority_client.HttpAuthority, or a simulator that speaks the same format."""

    @property
    def name(self) -> str: ...

    @property
    def verifier(self) -> TokenVerifier: ...

    def ask(self, query: bytes) -> bytes:
        """The TimeStampResp for a TimeStampReq, or AuthorityFailed within a bounded time."""
        ...


class Outcome(Enum):
    """What one tick came to."""

    NOTHING_DUE = "nothing due"
    WAITING = "waiting for the next attempt"
    ELSEWHERE = "another process or thread is at it"
    FAILED = "failed, to be tried again"
    FINISHED = "finished a round"


class Rounds(RoundsReader):
    """The state machine. tick() as often as you like, from as many processes as you like.

    submit          appends a signed anchor statement and returns its seq; given the same bytes again, or
                    the same payload signed anew, it returns the first seq
    read_published  the newest published checkpoint of our own ledger, a signed note; b"" before the first
    read_others     published checkpoints of other logs kept or witnessed here, signed notes
    clock           aware UTC time; nothing else is asked for the time
    """

    def __init__(
        self,
        engine: Engine,
        authorities: Sequence[Authority],
        submit: Callable[[bytes], int],
        read_published: Callable[[], bytes],
        signer: PrivateKey,
        origin: str,
        clock: Clock,
        *,
        policy: Policy | None = None,
        read_others: Callable[[], Sequence[bytes]] = tuple,
    ) -> None:
        super().__init__(engine, clock, policy)
        names = [authority.name for authority in authorities]
        if len(set(names)) != len(names) or not all(record.AUTHORITY_NAME.fullmatch(n) for n in names):
            raise ValueError(f"authorities need different names of letters, digits and . _ : -, not {names}")
        if not 1 <= self.policy.tokens_min <= len(names) <= record.TIMESTAMPS_MAX:
            raise ValueError(
                f"{len(names)} authorities for {self.policy.tokens_min} tokens; "
                f"wanted are that many at least, and at most {record.TIMESTAMPS_MAX}"
            )
        self._authorities = tuple(authorities)
        self._submit = submit
        self._read_published = read_published
        self._read_others = read_others
        self._signer = signer
        self._origin = origin
        self._lease = Lease(engine, clock, self.policy.lease_s)
        self._ticking = threading.Lock()

    def tick(self) -> Outcome:
        """Do whatever is due now: continue the round under way, or start one and see it through.

        Takes as long as the authorities and the ledger do. Failures outside are stored and tried again
        after a pause; RoundsFailed is raised only if our own tables cannot be used. Most ticks find
        nothing due, and cost two reads.
        """
        if not self._ticking.acquire(blocking=False):
            return Outcome.ELSEWHERE
        try:
            glance = self._glance()
            if glance is not None:
                return glance
            if not self._lease.claim():
                return Outcome.ELSEWHERE
            try:
                return self._work()
            except LeaseLost:
                return Outcome.ELSEWHERE
            finally:
                # Where this fails, the lease expires by itself.
                with suppress(RoundsFailed):
                    self._lease.release()
        finally:
            self._ticking.release()

    # --- what is due -------------------------------------------------------------------------------

    def _glance(self) -> Outcome | None:
        """Without writing: why nothing is to be done, or None."""
        with self._reading() as connection:
            open_ = connection.execute(UNFINISHED).one_or_none()
        if open_ is not None:
            return None if self._may_try(open_) else Outcome.WAITING
        try:
            due = self._find_due()
        except CheckpointRefused as error:
            self._lease.note(str(error))
            return Outcome.FAILED
        self._lease.note(None)
        return Outcome.NOTHING_DUE if due is None else None

    def _may_try(self, open_: Row[Any]) -> bool:
        wait: int = open_.next_attempt_at - self._now()
        # A wait longer than any we set means that the clock was moved back.
        return wait <= 0 or wait > span(self.policy.backoff_max_s)

    def _find_due(self) -> str | None:
        """The text of the published checkpoint, if it is time to anchor it."""
        text = self._published_text()
        if text is None:
            return None
        size = checkpoints.parse_body(text).tree_size
        with self._reading() as connection:
            last = connection.execute(NEWEST_FINISHED).one_or_none()
            if last is None:
                return text if size > 0 else None
            anchored = connection.execute(leaves_of(last.id)).scalars().first()
            anchors = connection.execute(
                select(func.count())
                .select_from(anchor_rounds)
                .where(anchor_rounds.c.seq >= last.tree_size, anchor_rounds.c.seq < size)
            ).scalar_one()
        if size < last.tree_size or (size == last.tree_size and text != anchored):
            # Stamping it would make a fork look old and proper.
            raise CheckpointRefused(
                "anchor.checkpoint.fork",
                f"the published checkpoint has size {size} and is not the one of size {last.tree_size} "
                "that is anchored already, nor one after it",
            )
        # Anchor entries do not count: else each round would be the reason for the next one.
        new = size - last.tree_size - anchors
        since = abs(self._now() - last.started_at)  # abs: a clock that was moved back must not stop rounds
        policy = self.policy
        if new > 0 and since >= span(policy.interval_s):
            return text
        if policy.every_entries is not None and new >= policy.every_entries:
            return text
        return text if since >= span(policy.idle_interval_s) else None

    def _published_text(self) -> str | None:
        try:
            raw = self._read_published()
            if not raw:
                return None
            text = note.parse(raw).text
            origin = checkpoints.parse_body(text).origin
        except Fault as error:
            raise CheckpointRefused(
                "anchor.checkpoint.unreadable", f"no published checkpoint: {error}"
            ) from error
        if origin != self._origin:
            raise CheckpointRefused(
                "anchor.checkpoint.origin", f"a checkpoint of {origin}; this ledger is {self._origin}"
            )
        return text

    def _other_texts(self) -> list[str]:
        """Other logs' checkpoints; one that cannot be read is left out, and does not hold up the rest."""
        texts: list[str] = []
        for raw in self._read_others():
            with suppress(Malformed):
                text = note.parse(raw).text
                checkpoints.parse_body(text)
                texts.append(text)
        return texts[: record.BATCH_SIZE_MAX - 1]

    # --- the steps of a round ----------------------------------------------------------------------

    def _work(self) -> Outcome:
        """With the lease in hand."""
        with self._reading() as connection:
            open_ = connection.execute(UNFINISHED).one_or_none()
        if open_ is None:
            try:
                text = self._find_due()
                if text is None:  # another process was here between the glance and the claim
                    return Outcome.NOTHING_DUE
                open_ = self._start(text)
            except CheckpointRefused as error:
                self._lease.note(str(error))
                return Outcome.FAILED
        elif not self._may_try(open_):
            return Outcome.WAITING
        try:
            statement = self._prepare(open_)
            self._finish(open_, self._place(open_, statement))
        except RoundsFailed:
            raise
        except AnchoringError as error:
            self._postpone(open_, error)
            return Outcome.FAILED
        return Outcome.FINISHED

    def _start(self, text: str) -> Row[Any]:
        """Step 1: the batch is durable before anybody is asked about it."""
        texts = [text, *self._other_texts()]
        root = batch.build([one.encode() for one in texts]).root
        now = self._now()
        with self._lease.holding() as connection:
            connection.execute(
                insert(anchor_rounds).values(
                    unfinished=1,
                    started_at=now,
                    tree_size=checkpoints.parse_body(text).tree_size,
                    batch_root=root,
                    attempts=0,
                    next_attempt_at=now,
                )
            )
            open_ = connection.execute(UNFINISHED).one()
            connection.execute(
                insert(anchor_leaves),
                [{"round_id": open_.id, "position": i, "checkpoint": one} for i, one in enumerate(texts)],
            )
            return open_

    def _prepare(self, open_: Row[Any]) -> bytes:
        """Steps 2 and 3: the signed statement, made now or before a crash."""
        if open_.statement is None:
            self._gather(open_)
            with self._reading() as connection:
                payload = record.render(read_record(connection, open_.id, 0))
        else:
            stored = envelope.parse(open_.statement)
            if stored.kid == self._signer.public.kid:
                return bytes(open_.statement)
            # The operator's key was rotated meanwhile. The same payload is the same anchor to the ledger.
            payload = stored.payload
        statement = envelope.sign(self._signer, typ=record.TYP, aud=self._origin, payload=payload)
        with self._lease.holding() as connection:
            stamped_at = connection.execute(
                select(func.min(anchor_tokens.c.stamped_at)).where(anchor_tokens.c.round_id == open_.id)
            ).scalar_one()
            # Durable before it is submitted: signed again over other tokens, it would be a second anchor.
            connection.execute(
                update(anchor_rounds)
                .where(anchor_rounds.c.id == open_.id)
                .values(statement=statement, stamped_at=stamped_at)
            )
        return statement

    def _gather(self, open_: Row[Any]) -> None:
        """Step 2: ask every authority that has not answered yet; each token is durable at once."""
        with self._reading() as connection:
            rows = connection.execute(tokens_of(open_.id)).all()
        stamped = {row.authority for row in rows if row.token is not None}
        errors: list[str] = []
        for authority in self._authorities:
            if authority.name in stamped:
                continue
            with (
                self._lease.holding()
            ):  # renewed before each step outside, so that it cannot expire within one
                pass
            try:
                token = self._ask(authority, bytes(open_.batch_root))
            except AnchoringError as error:
                errors.append(f"{authority.name}: {error}")
                self._store_token(open_.id, authority.name, None, str(error))
            else:
                stamped.add(authority.name)
                self._store_token(open_.id, authority.name, token, None)
        if len(stamped) < self.policy.tokens_min:
            raise AuthorityFailed(
                "anchor.tokens",
                f"{len(stamped)} of {self.policy.tokens_min} time-stamps; {'; '.join(errors)}",
            )

    def _ask(self, authority: Authority, root: bytes) -> Token:
        """One query and its answer, checked before anything of it is kept."""
        query, asked_at = build_query(root), self._clock()
        try:
            response = authority.ask(query.der)
        except AnchoringError:
            raise
        except Exception as error:
            raise AuthorityFailed("authority.error", f"{type(error).__name__}: {error}") from error
        token = authority.verifier.verify_response(response, root, query.nonce)
        tolerance = timedelta(seconds=self.policy.clock_tolerance_s)
        if not asked_at - tolerance <= token.gen_time <= self._clock() + tolerance:
            raise AuthorityFailed(
                "authority.clock",
                f"it was {token.gen_time:%Y-%m-%d %H:%M:%S} UTC there, and {asked_at:%Y-%m-%d %H:%M:%S} here",
            )
        return token

    def _store_token(self, round_id: int, authority: str, token: Token | None, error: str | None) -> None:
        values = {
            "token": None if token is None else token.der,
            "stamped_at": None if token is None else to_microseconds(token.gen_time),
            "last_error": None if error is None else error[:ERROR_LENGTH_MAX],
        }
        row = and_(anchor_tokens.c.round_id == round_id, anchor_tokens.c.authority == authority)
        with self._lease.holding() as connection:
            if connection.execute(update(anchor_tokens).where(row).values(values)).rowcount == 0:
                connection.execute(
                    insert(anchor_tokens).values(round_id=round_id, authority=authority, **values)
                )

    def _place(self, open_: Row[Any], statement: bytes) -> int:
        """Step 4: into the ledger. It may have got there before a crash; then this asks where."""
        with self._lease.holding():
            pass
        try:
            seq = self._submit(statement)
        except Exception as error:
            # Whatever went wrong, the entry may be there: the only safe next step is to submit it again.
            detail = str(error) if isinstance(error, Fault) else f"{type(error).__name__}: {error}"
            raise SubmitFailed("anchor.submit", detail) from error
        if seq < open_.tree_size:
            raise SubmitFailed(
                "anchor.submit",
                f"the anchor is said to be entry {seq}, below the {open_.tree_size} entries it anchors",
            )
        return seq

    def _finish(self, open_: Row[Any], seq: int) -> None:
        """Step 5: the round is over once its entry's position is known."""
        with self._lease.holding() as connection:
            connection.execute(
                update(anchor_rounds)
                .where(anchor_rounds.c.id == open_.id)
                .values(unfinished=None, seq=seq, finished_at=self._now(), last_error=None)
            )

    def _postpone(self, open_: Row[Any], error: AnchoringError) -> None:
        """Wait twice as long as last time, up to the cap, and keep the reason where people look."""
        attempts = open_.attempts + 1
        wait_s = min(self.policy.backoff_max_s, self.policy.backoff_s * 2.0 ** min(attempts - 1, 64))
        with self._lease.holding() as connection:
            connection.execute(
                update(anchor_rounds)
                .where(anchor_rounds.c.id == open_.id)
                .values(
                    attempts=attempts,
                    next_attempt_at=self._now() + span(wait_s),
                    last_error=str(error)[:ERROR_LENGTH_MAX],
                )
            )
