"""Step 1 of 9, before the first event: a partner's keys, made, registered, followed and ended.

partner    tallystick keygen    a key of your own
partner    tallystick request   proof that you hold it, for the registrar
registrar  tallystick register  onto the ledger with it
partner    tallystick rotate    a new key in the place of an old one
either     tallystick revoke    the end of a key
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import click

from client.errors import InputMalformed
from client.http import LedgerDoor, Patience
from client.receipts import ReceiptChecker, parse_log_keys
from client.registration import Recorded, submit_key_statement
from keys import envelope
from keys.algorithms import PrivateKey, generate
from keys.errors import Fault
from keys.files import write_private_key
from keys.key_statements import REASONS, ROLES, Possession, read_possession
from keys.registry import (
    Registry,
    possession_statement,
    register_statement,
    revoke_statement,
    rotate_statement,
)
from tallystick.commands.partner_console import (
    Moment,
    json_option,
    key_option,
    load_key,
    log_key_option,
    origin_option,
    passphrase_option,
    passphrase_reader,
    plainly,
    remark,
    require_option,
    say,
    say_json,
    url_option,
    with_options,
)

receipt_option = click.option(
    "--receipt",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Keep the ledger's receipt in this file.",
)
patience_option = click.option(
    "--patience",
    "patience_s",
    type=click.FloatRange(0),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to keep asking a ledger that does not answer.",
)
_ledger_options = with_options(
    url_option,
    log_key_option,
    origin_option,
    key_option,
    passphrase_option,
    patience_option,
    receipt_option,
    json_option,
)


def find_origin(origin: str | None, log_keys: tuple[str, ...]) -> str | None:
    """The ledger's name: as given, or the name that its log key begins with."""
    return origin or (parse_log_keys(log_keys)[0].name if log_keys else None)


def _require_origin(origin: str | None, log_keys: tuple[str, ...]) -> str:
    why = "which ledger this is for"
    return require_option(find_origin(origin, log_keys), "--log-key or --origin", "TALLYSTICK_LOG_KEY", why)


@click.command("keygen")
@click.option(
    "--out", "path", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The new key file."
)
@click.option(
    "--alg",
    type=click.Choice(["Ed25519", "ES256"]),
    default="Ed25519",
    show_default=True,
    help="The algorithm.",
)
@with_options(passphrase_option, json_option)
@plainly
def keygen(path: Path, alg: str, passphrase_source: str | None, as_json: bool) -> None:
    """Make a private key of your own.

    The file is encrypted with a passphrase and never written over. The key's public half and its kid, by
    which the ledger names it, are printed: they are no secret.
    """
    if path.exists():
        raise InputMalformed("key.file.exists", f"{path} exists already; a key is never written over")
    key = generate(alg)
    write_private_key(path, key, passphrase_reader(passphrase_source, confirm=True)())
    jwk = dict(key.public.jwk)
    if as_json:
        say_json({"ok": True, "file": str(path), "alg": alg, "kid": key.public.kid, "jwk": jwk})
        return
    say(f"key file    {path} ({alg}, encrypted; keep a copy of it, and never its passphrase beside it)")
    say(f"kid         {key.public.kid}")
    say(f"public key  {json.dumps(jwk, separators=(',', ':'))}")
    remark(f"Next: tallystick request --key {path} --party YOUR-ID --log-key LEDGER-KEY --out request.jws")


@click.command("request")
@click.option("--party", required=True, help="Who you are on this ledger, e.g. your GLN's Digital Link.")
@click.option("--rotate", is_flag=True, help="The new key is to follow one that is registered already.")
@click.option(
    "--out", type=click.File("wb", lazy=True), default="-", help="The request's file.  [default: print it]"
)
@with_options(log_key_option, origin_option, key_option, passphrase_option)
@plainly
def request(
    party: str,
    rotate: bool,
    out: BinaryIO,
    log_keys: tuple[str, ...],
    origin: str | None,
    key_uri: str | None,
    passphrase_source: str | None,
) -> None:
    """Prove that you hold your key, so that it gets registered.

    The proof goes to the registrar. It holds no secret, and is good for this key, this ledger and this
    party only.
    """
    ledger = _require_origin(origin, log_keys)
    key = load_key(key_uri, passphrase_source)
    raw = possession_statement(key, origin=ledger, party=party, purpose="rotate" if rotate else "register")
    out.write(raw + b"\n")
    out.flush()
    follow = (
        "Next: tallystick rotate" if rotate else "It goes to the registrar, who runs: tallystick register"
    )
    remark(f"Proof that you hold key {key.public.kid}, as {party} on {ledger}. {follow} REQUEST")


@click.command("register")
@click.argument("request_file", metavar="REQUEST", type=click.File("rb"))
@click.option("--name", required=True, help="The party's name, for people.")
@click.option(
    "--role",
    "roles",
    multiple=True,
    type=click.Choice(ROLES),
    default=["emitter"],
    show_default=True,
    help="What the party may do; may be given twice.",
)
@click.option("--not-after", type=Moment(), help="When the key ends by itself, e.g. 2028-01-01.")
@_ledger_options
@plainly
def register(
    request_file: BinaryIO, name: str, roles: tuple[str, ...], not_after: datetime | None, **ledger: object
) -> None:
    """Put a party's key on the ledger (for the registrar).

    REQUEST is what the party made with `tallystick request`; '-' reads it from standard input. --key is the
    registrar's. Check by another way that the request's kid is the party's before you sign it in.
    """
    call = _Call(**ledger)  # type: ignore[arg-type]
    raw, wanted = _read_request(request_file, call.origin, "register")

    def make(registry: Registry, key: PrivateKey) -> bytes:
        known = registry.parties.get(wanted.party)
        return register_statement(
            key,
            origin=call.origin,
            party=wanted.party,
            name=name,
            roles=roles,
            possession=raw,
            previous=known.last_digest if known else None,
            not_after=not_after,
        )

    recorded = call.submit(make, lambda registry: _find_registered(registry, wanted))
    call.report(recorded, f"key {wanted.key.kid} of {wanted.party}", "registered")


@click.command("rotate")
@click.argument("request_file", metavar="REQUEST", type=click.File("rb"))
@click.option("--old", metavar="KID", help="The key that ends.  [default: the one that signs]")
@_ledger_options
@plainly
def rotate(request_file: BinaryIO, old: str | None, **ledger: object) -> None:
    """Put a new key in the place of an old one.

    REQUEST comes from `tallystick request --rotate --key NEW`. --key is the old key, or another active one of
    the same party, or the registrar's. What the old key signed before stays good.
    """
    call = _Call(**ledger)  # type: ignore[arg-type]
    raw, wanted = _read_request(request_file, call.origin, "rotate")

    def make(registry: Registry, key: PrivateKey) -> bytes:
        known = registry.parties.get(wanted.party)
        return rotate_statement(
            key,
            origin=call.origin,
            party=wanted.party,
            old=old or key.public.kid,
            possession=raw,
            previous=known.last_digest if known else None,
        )

    recorded = call.submit(make, lambda registry: _find_registered(registry, wanted))
    call.report(recorded, f"key {wanted.key.kid} of {wanted.party}", "in force, the old one ended")


@click.command("revoke")
@click.argument("kid")
@click.option("--reason", type=click.Choice(REASONS), required=True, help="Why it ends.")
@click.option(
    "--invalid-since",
    type=Moment(),
    help="From when on the key may have been in wrong hands: what was not anchored before is then suspect.",
)
@_ledger_options
@plainly
def revoke(kid: str, reason: str, invalid_since: datetime | None, **ledger: object) -> None:
    """End a key, for good.

    --key is an active key of the same party, or the registrar's. A revoked key never comes back.
    """
    call = _Call(**ledger)  # type: ignore[arg-type]

    def make(registry: Registry, key: PrivateKey) -> bytes:
        record = registry.keys.get(kid)
        if record is None:
            raise InputMalformed("revoke.kid", f"{call.origin} knows no key {kid}")
        return revoke_statement(
            key,
            origin=call.origin,
            party=record.party,
            kid=kid,
            reason=reason,
            previous=registry.parties[record.party].last_digest,
            invalid_since=invalid_since,
        )

    def find_recorded(registry: Registry) -> int | None:
        record = registry.keys.get(kid)
        return record.revoked_seq if record else None

    call.report(call.submit(make, find_recorded), f"key {kid}", "revoked")


# Underneath --------------------------------------------------------------------------------------


def _read_request(file: BinaryIO, origin: str, purpose: str) -> tuple[bytes, Possession]:
    """A request that proves what it should, before anybody signs around it."""
    raw = file.read(envelope.STATEMENT_SIZE_MAX).strip()
    try:
        statement = envelope.parse(raw)
        wanted = read_possession(statement.payload)
        envelope.verify(statement, wanted.key)
    except Fault as e:
        raise InputMalformed("request.file", f"{file.name} is no request that holds: {e.detail}") from e
    if wanted.origin != origin:
        raise InputMalformed("request.origin", f"{file.name} is for the ledger {wanted.origin}, not {origin}")
    if wanted.purpose != purpose:
        raise InputMalformed("request.purpose", f"{file.name} asks to {wanted.purpose}, not to {purpose}")
    return raw, wanted


def _find_registered(registry: Registry, wanted: Possession) -> int | None:
    record = registry.keys.get(wanted.key.kid)
    return record.registered_seq if record and record.party == wanted.party else None


class _Call:
    """One key statement's way to the ledger, by the options that all these commands share."""

    def __init__(
        self,
        url: str | None,
        log_keys: tuple[str, ...],
        origin: str | None,
        key_uri: str | None,
        passphrase_source: str | None,
        patience_s: float,
        receipt: Path | None,
        as_json: bool,
    ) -> None:
        self.origin = _require_origin(origin, log_keys)
        self._url = require_option(url, "--url", "TALLYSTICK_URL", "where the ledger is")
        self._checker = ReceiptChecker(parse_log_keys(log_keys), self.origin) if log_keys else None
        self._key_uri, self._passphrase_source = key_uri, passphrase_source
        self._patience_s = patience_s
        self._receipt_path = receipt
        self._as_json = as_json

    def submit(
        self, make: Callable[[Registry, PrivateKey], bytes], find_recorded: Callable[[Registry], int | None]
    ) -> Recorded:
        key = load_key(self._key_uri, self._passphrase_source)
        with LedgerDoor(self._url) as door:
            return submit_key_statement(
                door,
                self._checker,
                self.origin,
                find_recorded=find_recorded,
                make=lambda registry: make(registry, key),
                patience=Patience(self._patience_s),
                on_wait=lambda fault, wait_s: remark(f"{fault.detail}; trying again in {wait_s:.1f} s"),
            )

    def report(self, recorded: Recorded, what: str, done: str) -> None:
        """Say what stands on the ledger now, and how sure that is."""
        if self._receipt_path is not None and recorded.receipt_bytes is not None:
            self._receipt_path.write_bytes(recorded.receipt_bytes)
        if self._as_json:
            say_json(
                {
                    "ok": True,
                    "origin": self.origin,
                    "seq": recorded.seq,
                    "already": recorded.statement is None,
                    "receipt_checked": recorded.receipt is not None,
                }
            )
            return
        if recorded.statement is None:
            say(f"{what}: stands on {self.origin} already, at position {recorded.seq}; nothing was added")
            return
        say(f"{what}: {done}, at position {recorded.seq} of {self.origin}")
        if recorded.receipt is None:
            remark("The receipt was not checked, for that takes --log-key")
        else:
            say("The ledger's receipt was checked.")
