"""Promises of a trust directory: the C2SP policy file, the pinned first entry, the pinned authorities."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest
from tt_evidence import identity, make_world, witness
from tt_keys import log_signer

from keys.errors import Malformed
from verifier.policy import Group, Policy, Witness, parse_policy, render_policy
from verifier.trust import Genesis, load_trust, parse_genesis, public_files, render_genesis, write_trust

LOG = log_signer().vkey
OTHER_LOG = log_signer("other.example/log", "other log").vkey
W = [witness(number).vkey for number in range(5)]


def policy_of(*lines: str) -> Policy:
    return parse_policy(("\n".join(lines) + "\n").encode("latin-1"))


def test_comments_blank_lines_tabs_and_addresses_are_allowed() -> None:
    policy = policy_of(
        "# the ledger's key, from the operator's printed statement",
        "",
        f" \tlog\t{LOG}  https://ledger.example/epcis ",
        f"witness W\xe9 {W[0]}",
        f"witness other {W[1]} https://w.example",
        "   # group of both",
        "group both all W\xe9 other",
        "quorum both",
    )
    assert [verifier.vkey for verifier in policy.log_verifiers("ledger.example/epcis")] == [LOG]
    assert policy.log_verifiers("other.example/log") == ()
    assert policy.groups == (Group("both", 2, ("W\xe9", "other")),)
    assert parse_policy(render_policy(policy)) == policy


def test_the_specification_s_two_level_quorum() -> None:
    policy = policy_of(
        f"log {LOG}",
        *(f"witness X{i} {W[i]}" for i in range(3)),
        "group X-witnesses 2 X0 X1 X2",
        *(f"witness Y{i} {W[i]}" for i in range(3, 5)),
        "group Y-witnesses any Y3 Y4",
        "group X-and-Y all X-witnesses Y-witnesses",
        "quorum X-and-Y",
    )
    everyone = ["X0", "X1", "X2", "Y3", "Y4"]
    for count in range(6):
        for signed in combinations(everyone, count):
            enough = sum(name.startswith("X") for name in signed) >= 2 and {"Y3", "Y4"} & set(signed)
            assert policy.is_met_by(signed) is bool(enough)
    # A name that is no witness of the policy counts for nothing, not even a group's own name.
    assert not policy.is_met_by(["X-and-Y", "X-witnesses", "Y-witnesses", "X0", "stranger"])


def test_a_single_witness_or_none_can_be_the_quorum() -> None:
    assert policy_of(f"witness w {W[0]}", "quorum w").is_met_by(["w"])
    assert not policy_of(f"witness w {W[0]}", "quorum w").is_met_by([])
    assert policy_of("quorum none").is_met_by([])


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [f"log {LOG}"],  # no quorum
        ["quorum none", "quorum none"],
        ["quorum w", f"witness w {W[0]}"],  # defined only later
        [f"log {LOG}", f"log {LOG}", "quorum none"],
        [f"witness a {W[0]}", f"witness b {W[0]}", "quorum a"],  # one key would count twice
        [f"witness a {W[0]}", f"witness a {W[1]}", "quorum a"],
        [f"witness none {W[0]}", "quorum none"],
        [f"witness a {LOG}", "quorum a"],  # a log's key is no cosigner's
        [f"log {W[0]}", "quorum none"],
        [f"witness a {W[0]}", "group g all a", "group h all a", "quorum h"],  # a counts in two ways
        [f"witness a {W[0]}", "group g all a a", "quorum g"],
        [f"witness a {W[0]}", "group g 2 a", "quorum g"],
        [f"witness a {W[0]}", "group g 0 a", "quorum g"],
        [f"witness a {W[0]}", "group g 01 a", "quorum g"],
        [f"witness a {W[0]}", "group g -1 a", "quorum g"],
        [f"witness a {W[0]}", "group g some a", "quorum g"],
        [f"witness a {W[0]}", "group g all none", "quorum g"],
        [f"witness a {W[0]}", "group g all b", "quorum g"],
        ["group g all", "quorum g"],
        ["group g all g", "quorum g"],
        [f"log {LOG} url and-more", "quorum none"],
        [f"log {LOG[:-4]}", "quorum none"],
        ["logs nothing", "quorum none"],
        ["Quorum none"],
        ["quorum none\r"],
        ["quorum\x00none"],
        ["quorum\xa0none"],  # only space and tab separate
        ["quorum\x0bnone"],
        ["quorum none\x7f"],
    ],
)
def test_everything_else_is_refused(lines: list[str]) -> None:
    with pytest.raises(Malformed):
        policy_of(*lines)


def test_a_fault_names_its_line() -> None:
    with pytest.raises(Malformed, match="line 3"):
        policy_of(f"log {LOG}", "", "nonsense", "quorum none")


def test_a_policy_of_the_specification_s_smallest_limits_is_read() -> None:
    lines = [f"log {log_signer(f'log{i}.example', f'log {i}').vkey}" for i in range(32)]
    lines += [f"witness w{i} {witness(100 + i).vkey}" for i in range(32)]
    lines += [f"group g{i} all w{i}" for i in range(32)]
    policy = policy_of(*lines, "quorum none")
    assert (len(policy.logs), len(policy.witnesses), len(policy.groups)) == (32, 32, 32)


def test_sizes_are_bounded() -> None:
    with pytest.raises(Malformed):
        parse_policy(b"#" * 300_000)
    with pytest.raises(Malformed):
        policy_of(
            *(f"log {log_signer(f'log{i}.example', f'log {i}').vkey}" for i in range(70)), "quorum none"
        )


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"ledger.example/epcis\n",
        b"\nZLJJxOBgbj2XQsSb/VfNHj6xcPXM76JuoEXKGT1kp18=\n",
        b"ledger.example/epcis\nZLJJxOBgbj2XQsSb/VfNHj6xcPXM76JuoEXKGT1kp18=",
        b"ledger.example/epcis\nZLJJxOBgbj2XQsSb/VfNHj6xcPXM76JuoEXKGT1kp18=\n\n",
        b"ledger.example/epcis\r\nZLJJxOBgbj2XQsSb/VfNHj6xcPXM76JuoEXKGT1kp18=\r\n",
        b"ledger.example/epcis\nZLJJxOBgbj2XQsSb/VfNHj6xcPXM76JuoEXKGT1kp19=\n",  # spare bits are set
        b"ledger.example/epcis\nZLJJxOBgbj2XQsSb\n",
        b"ledger.example/epcis\n!!!\n",
        b"\xff\nZLJJxOBgbj2XQsSb/VfNHj6xcPXM76JuoEXKGT1kp18=\n",
    ],
)
def test_a_genesis_file_has_one_spelling(data: bytes) -> None:
    with pytest.raises(Malformed):
        parse_genesis(data)


def test_genesis_round_trip() -> None:
    genesis = Genesis("ledger.example/epcis", bytes(range(32)))
    assert parse_genesis(render_genesis(genesis)) == genesis


def test_what_is_written_is_what_is_loaded(tmp_path: Path) -> None:
    world = make_world()
    pinned = world.trust()
    assert pinned.genesis is not None
    write_trust(
        tmp_path / "trust",
        origin=world.origin,
        genesis_leaf_hash=pinned.genesis.leaf_hash,
        log_vkeys=[LOG, OTHER_LOG],
        tsa_roots={"dev": identity("tsa").root_pem, "second": identity("second").root_pem},
        witnesses=[Witness("w1", witness(1).verifier)],
        quorum="w1",
    )
    loaded = load_trust(tmp_path / "trust")
    assert loaded.genesis == pinned.genesis
    assert loaded.policy is not None
    assert [log.vkey for log in loaded.policy.logs] == [LOG, OTHER_LOG]
    assert set(loaded.roots) == {identity("tsa").root, identity("second").root}
    assert set(public_files(tmp_path / "trust")) == {"policy", "genesis", "tsa/dev.pem", "tsa/second.pem"}


def test_a_directory_without_a_policy_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Malformed) as caught:
        load_trust(tmp_path)
    assert caught.value.code == "trust.policy"


def test_missing_genesis_and_roots_are_missing_trust(tmp_path: Path) -> None:
    (tmp_path / "policy").write_text(f"log {LOG}\nquorum none\n")
    loaded = load_trust(tmp_path)
    assert (loaded.genesis, loaded.roots) == (None, ())


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("tsa/x.pem", b"not a certificate"),
        ("tsa/x.pem", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        ("tsa/x.pem", b"-" * 100_000),
        ("genesis", b"x" * 2_000),
    ],
)
def test_unreadable_parts_are_refused(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / "tsa").mkdir()
    (tmp_path / "policy").write_text(f"log {LOG}\nquorum none\n")
    (tmp_path / name).write_bytes(data)
    with pytest.raises(Malformed):
        load_trust(tmp_path)


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "x" * 65])
def test_an_authority_s_name_is_no_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(Malformed):
        write_trust(
            tmp_path,
            origin="ledger.example/epcis",
            genesis_leaf_hash=bytes(32),
            log_vkeys=[LOG],
            tsa_roots={name: b""},
        )
