"""Private keys at rest, and the passphrases that open them."""

from __future__ import annotations

import getpass
import os
import shutil
import stat
import subprocess
import warnings

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from tt_keys import ed25519_key, p256_key

from keys import files, signers
from keys.errors import Fault, Malformed, Refused, Unverifiable

PASSPHRASE = "correct horse – battery".encode()
KEYS = {"ed25519": ed25519_key("acme"), "p256": p256_key("acme")}


def pem_of(key, passphrase: bytes | None = None, form=serialization.PrivateFormat.PKCS8) -> bytes:
    """What another tool would write."""
    encryption = (
        serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    )
    return key.private_bytes(serialization.Encoding.PEM, form, encryption)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Both keys in files; stretching a passphrase is slow on purpose, so once is enough."""
    place = tmp_path_factory.mktemp("keys")
    for name, key in KEYS.items():
        files.write_private_key(place / name, key, PASSPHRASE)
    return place


@pytest.fixture
def key_file(folder, tmp_path):
    """A file of one's own to spoil."""
    path = tmp_path / "key.pem"
    shutil.copy(folder / "ed25519", path)
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("name", KEYS)
def test_a_key_comes_back_from_its_file(folder, name):
    key = files.read_private_key(folder / name, PASSPHRASE)
    assert key.public == KEYS[name].public
    assert key.sign(b"m") == KEYS[name].sign(b"m")


@pytest.mark.parametrize("name", KEYS)
def test_a_file_is_its_owner_s_only_and_shows_nothing(folder, name):
    data = (folder / name).read_bytes()
    assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
    assert data.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    assert max(map(len, data.splitlines())) <= 64
    assert KEYS["ed25519"].seed not in data


def test_a_file_keeps_its_mode_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        files.write_private_key(tmp_path / "k", KEYS["ed25519"], b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "k").stat().st_mode) == 0o600


def test_the_same_key_is_sealed_differently_each_time(folder):
    assert files.encrypt_private_key(KEYS["ed25519"], PASSPHRASE) != (folder / "ed25519").read_bytes()


@pytest.mark.parametrize("name", KEYS)
def test_openssl_reads_our_files(folder, name):
    if not shutil.which("openssl"):
        # Nothing of the product depends on it; cryptography's own reader is tested above.
        assert files.is_encrypted((folder / name).read_bytes())
        return
    out = subprocess.run(
        ["openssl", "pkey", "-in", folder / name, "-passin", "env:P", "-pubout"],
        env={**os.environ, "P": PASSPHRASE.decode()},
        capture_output=True,
        check=True,
    )
    assert b"BEGIN PUBLIC KEY" in out.stdout


def test_files_of_other_tools_are_read():
    for held in (ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256R1())):
        assert files.decrypt_private_key(pem_of(held, b"x"), b"x").public


def test_a_wrong_passphrase_is_unverifiable_and_never_echoed(folder):
    for wrong in (b"wrong-secret", PASSPHRASE + b" ", PASSPHRASE[:-1], b"\x00"):
        with pytest.raises(Unverifiable) as e:
            files.read_private_key(folder / "ed25519", wrong)
        assert e.value.code == "key.passphrase"
        assert wrong.decode() not in e.value.detail or len(wrong) == 1
    for empty in (b"", b"x" * 1025):
        with pytest.raises(Refused):
            files.read_private_key(folder / "ed25519", empty)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o601, 0o620, 0o777])
def test_a_file_that_others_may_open_is_refused(key_file, mode):
    key_file.chmod(mode)
    with pytest.raises(Refused) as e:
        files.read_private_key(key_file, PASSPHRASE)
    assert e.value.code == "key.file.mode"
    assert f"{mode:04o}" in e.value.detail


def test_a_file_is_never_written_over(key_file, tmp_path):
    before = key_file.read_bytes()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "elsewhere")
    for path in (key_file, link):
        with pytest.raises(Refused) as e:
            files.write_private_key(path, KEYS["ed25519"], PASSPHRASE)
        assert e.value.code == "key.file.exists"
    assert key_file.read_bytes() == before
    assert not (tmp_path / "elsewhere").exists()


def test_what_cannot_be_written_or_read_says_so(tmp_path):
    with pytest.raises(Unverifiable) as e:
        files.write_private_key(tmp_path / "no" / "k", KEYS["ed25519"], b"x")
    assert e.value.code == "key.file"
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(Unverifiable) as e:
            files.read_private_key(path, b"x")
        assert e.value.code == "key.file"


def test_a_write_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(_fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Unverifiable):
        files.write_private_key(tmp_path / "k", KEYS["ed25519"], b"x")
    assert list(tmp_path.iterdir()) == []


def test_an_unencrypted_file_is_refused(key_file):
    for held in (ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256R1())):
        key_file.write_bytes(pem_of(held))
        with pytest.raises(Refused) as e:
            files.read_private_key(key_file, PASSPHRASE)
        assert e.value.code == "key.unencrypted"


ED = ed25519.Ed25519PrivateKey.generate()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a key",
        b"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n",
        pem_of(ED)[:-20],
        pem_of(ED) + pem_of(ED),
        pem_of(ED).replace(b"PRIVATE", b"PUBLIC"),
        pem_of(ED, form=serialization.PrivateFormat.OpenSSH),
        pem_of(ec.generate_private_key(ec.SECP256R1()), form=serialization.PrivateFormat.TraditionalOpenSSL),
        b"x" * 20_000,
    ],
    ids=["empty", "text", "no-body", "torn", "two", "public", "openssh", "openssl", "long"],
)
def test_a_file_that_is_no_pkcs_8_key_is_malformed(key_file, data):
    key_file.write_bytes(data)
    with pytest.raises(Malformed) as e:
        files.read_private_key(key_file, PASSPHRASE)
    assert e.value.code == "key.file"


def test_a_damaged_file_gives_no_key(key_file):
    data = key_file.read_bytes()
    lines = data.splitlines(keepends=True)
    spoilt = [
        data.replace(lines[1], lines[1][::-1].strip() + b"\n"),
        b"".join(lines[:1] + lines[2:]),
        data.replace(lines[-2], lines[-2][:4] + (b"A" if lines[-2][4:5] != b"A" else b"B") + lines[-2][5:]),
    ]
    for changed in spoilt:
        key_file.write_bytes(changed)
        with pytest.raises(Fault):
            files.read_private_key(key_file, PASSPHRASE)


def test_keys_of_other_kinds_are_not_known():
    for held in (rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1())):
        with pytest.raises(Fault) as e:
            files.decrypt_private_key(pem_of(held, b"x"), b"x")
        assert e.value.code in ("key.type", "key.curve")


def test_a_key_needs_a_passphrase_and_a_secret_to_seal(tmp_path):
    for passphrase in (b"", b"x" * 1025):
        with pytest.raises(Refused):
            files.write_private_key(tmp_path / "k", KEYS["ed25519"], passphrase)

    class Held:
        public = KEYS["ed25519"].public

        def sign(self, message: bytes) -> bytes:
            return KEYS["ed25519"].sign(message)

    with pytest.raises(Refused) as e:
        files.write_private_key(tmp_path / "k", Held(), b"x")
    assert e.value.code == "key.held"
    assert not (tmp_path / "k").exists()


# --- passphrases


def test_a_passphrase_from_the_environment(monkeypatch):
    monkeypatch.setenv("TT_PASSPHRASE", PASSPHRASE.decode())
    assert files.read_passphrase("env:TT_PASSPHRASE") == PASSPHRASE
    monkeypatch.setenv("TT_PASSPHRASE", "")
    with pytest.raises(Refused):
        files.read_passphrase("env:TT_PASSPHRASE")
    monkeypatch.delenv("TT_PASSPHRASE")
    with pytest.raises(Unverifiable):
        files.read_passphrase("env:TT_PASSPHRASE")


@pytest.mark.parametrize("text", [b"secret", b"secret\n", b"secret\r\n", b"secret\nsecond line\n"])
def test_a_passphrase_is_the_first_line_of_its_file(tmp_path, text):
    path = tmp_path / "p"
    path.write_bytes(text)
    path.chmod(0o600)
    assert files.read_passphrase(f"file:{path}") == b"secret"
    path.chmod(0o644)
    with pytest.raises(Refused) as e:
        files.read_passphrase(f"file:{path}")
    assert e.value.code == "key.file.mode"


def test_an_empty_or_missing_passphrase_file_is_none(tmp_path):
    path = tmp_path / "p"
    path.write_bytes(b"\nsecret\n")
    path.chmod(0o600)
    with pytest.raises(Refused):
        files.read_passphrase(f"file:{path}")
    with pytest.raises(Unverifiable):
        files.read_passphrase(f"file:{tmp_path / 'none'}")


@pytest.mark.parametrize("source", ["", "env:", "file:", "secret", "pass:secret", "Prompt", "env", "prompt:"])
def test_a_source_that_is_none_of_the_three_is_malformed_and_not_echoed(source):
    with pytest.raises(Malformed) as e:
        files.read_passphrase(source)
    assert "secret" not in str(e.value)


def test_the_prompt_asks_twice_before_something_new(monkeypatch):
    answers = iter(["one", "one", "one", "two", "one"])
    monkeypatch.setattr(getpass, "getpass", lambda _question: next(answers))
    assert files.read_passphrase("prompt", confirm=True) == b"one"
    with pytest.raises(Refused) as e:
        files.read_passphrase("prompt", confirm=True)
    assert e.value.code == "key.passphrase.differs"
    assert files.read_passphrase("prompt") == b"one"


def test_without_a_terminal_nothing_is_asked_aloud(monkeypatch):
    def echoing(_question):
        warnings.warn("Can not control echo on the terminal.", getpass.GetPassWarning, stacklevel=2)
        return "typed aloud"

    def no_input(_question):
        raise EOFError

    for broken in (echoing, no_input):
        monkeypatch.setattr(getpass, "getpass", broken)
        with pytest.raises(Unverifiable):
            files.read_passphrase("prompt")


# --- signers by URI


def never() -> bytes:
    raise AssertionError("no passphrase was needed")


def test_a_signer_from_a_file(folder):
    assert signers.load_signer(f"file:{folder / 'p256'}", lambda: PASSPHRASE).public == KEYS["p256"].public
    with pytest.raises(Unverifiable):
        signers.load_signer(f"file:{folder / 'p256'}", lambda: b"wrong")


def test_a_signer_from_an_unencrypted_file_is_refused_without_asking(key_file):
    key_file.write_bytes(pem_of(ED))
    with pytest.raises(Refused) as e:
        signers.load_signer(f"file:{key_file}", never)
    assert e.value.code == "key.unencrypted"


def test_a_signer_from_the_environment_may_be_plain_or_encrypted(folder, monkeypatch):
    monkeypatch.setenv("TT_KEY", (folder / "ed25519").read_text())
    assert signers.load_signer("env:TT_KEY", lambda: PASSPHRASE).public == KEYS["ed25519"].public
    monkeypatch.setenv("TT_KEY", pem_of(ED).decode())
    assert signers.load_signer("env:TT_KEY", never).public.alg == "Ed25519"
    monkeypatch.setenv("TT_KEY", "secret garbage")
    with pytest.raises(Malformed) as e:
        signers.load_signer("env:TT_KEY", never)
    assert "secret" not in str(e.value)


@pytest.mark.parametrize(
    ("uri", "cause"),
    [
        ("", Malformed),
        ("file:", Malformed),
        ("env:", Malformed),
        ("/etc/key.pem", Malformed),
        ("pkcs11:token=a", Unverifiable),
        ("https://keys.example/a", Unverifiable),
        ("env:TT_NOT_SET", Unverifiable),
        ("file:/nonexistent/key", Unverifiable),
    ],
)
def test_a_uri_that_names_no_signer_is_told_apart(uri, cause):
    with pytest.raises(cause):
        signers.load_signer(uri, never)
