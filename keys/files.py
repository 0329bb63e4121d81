"""Step 1 of 9: sign. Private keys at rest: encrypted PKCS#8 in PEM, mode 0600, a passphrase from elsewhere.

The passphrase is stretched by scrypt (RFC 7914) in the standard PBES2 form, so `openssl pkey` and other
tools read the files as well. An existing file is never written over, and a file that others may read is
refused: its secret must be taken for lost. No message here ever holds a secret.
"""

from __future__ import annotations

import binascii
import getpass
import os
import re
import stat
import warnings
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import padding, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from keys.algorithms import Ed25519PrivateKey, P256PrivateKey, PrivateKey
from keys.errors import Malformed, Refused, Unverifiable

KEY_FILE_SIZE_MAX = 16_384
PASSPHRASE_SIZE_MAX = 1024
# 16 MiB of memory and about 0.1 s a guess; the library's own default, 2,048 rounds of PBKDF2, takes 0.3 ms.
SCRYPT_COST = 2**14
SCRYPT_BLOCK_SIZE = 8
SCRYPT_PARALLEL = 5

_PEM = re.compile(
    rb"\s*-----BEGIN ((?:ENCRYPTED )?PRIVATE KEY)-----\r?\n([A-Za-z0-9+/=\s]+)-----END \1-----\s*"
)
_OID_PBES2 = bytes.fromhex("06092a864886f70d01050d")
_OID_SCRYPT = bytes.fromhex("06092b06010401da47040b")
_OID_AES256_CBC = bytes.fromhex("060960864801650304012a")


def write_private_key(path: str | os.PathLike[str], key: PrivateKey, passphrase: bytes) -> None:
    """Write a new key file, durable when this returns.

    Raises Refused "key.file.exists", "key.passphrase.empty", or "key.held" for a key that does not show its
    secret; Unverifiable "key.file" if the place cannot be written.
    """
    pem = encrypt_private_key(key, passphrase)
    path = Path(path)
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError as e:
        raise Refused("key.file.exists", f"{path} exists already; a key is never written over") from e
    except OSError as e:
        raise Unverifiable("key.file", f"{path} cannot be written: {e.strerror}") from e
    try:
        with os.fdopen(file, "wb") as stream:
            stream.write(pem)
            stream.flush()
            os.fsync(stream.fileno())
        _sync_folder(path.parent)
    except OSError as e:
        # Half a key file is worse than none: the next attempt would find it "existing already".
        with suppress(OSError):
            path.unlink()
        raise Unverifiable("key.file", f"{path} cannot be written: {e.strerror}") from e


def read_private_key(path: str | os.PathLike[str], passphrase: bytes) -> PrivateKey:
    """The key in this file.

    Raises Unverifiable "key.file" if it cannot be read and "key.passphrase" if this passphrase does not open
    it; Refused "key.file.mode" if others may read it, "key.unencrypted" if it was never encrypted;
    Malformed "key.file" if it is no PKCS#8 in PEM.
    """
    return decrypt_private_key(read_private_file(path), passphrase)


def read_private_file(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a small file that nobody else may read; errors as read_private_key has them."""
    try:
        with open(path, "rb") as stream:
            # Asked of what was opened, not of the name: the name could point elsewhere by then.
            mode = os.fstat(stream.fileno()).st_mode
            data = stream.read(KEY_FILE_SIZE_MAX + 1)
    except OSError as e:
        raise Unverifiable("key.file", f"{os.fspath(path)} cannot be read: {e.strerror}") from e
    if mode & 0o077:
        detail = (
            f"{os.fspath(path)} has mode {stat.S_IMODE(mode):04o}; others can read or change it (chmod 600)"
        )
        raise Refused("key.file.mode", detail)
    if len(data) > KEY_FILE_SIZE_MAX:
        raise Malformed("key.file", f"{os.fspath(path)} is larger than {KEY_FILE_SIZE_MAX} bytes")
    return data


def encrypt_private_key(key: PrivateKey, passphrase: bytes) -> bytes:
    """Encrypted PKCS#8 in PEM: PBES2 with scrypt and AES-256-CBC (RFC 8018, RFC 7914)."""
    _require_passphrase(passphrase)
    held: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey
    if isinstance(key, Ed25519PrivateKey):
        held = ed25519.Ed25519PrivateKey.from_private_bytes(key.seed)
    elif isinstance(key, P256PrivateKey):
        held = key.held
    else:
        raise Refused("key.held", "this key does not leave the place that holds it")
    plain = held.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    salt, iv = os.urandom(16), os.urandom(16)
    stretched = Scrypt(salt=salt, length=32, n=SCRYPT_COST, r=SCRYPT_BLOCK_SIZE, p=SCRYPT_PARALLEL).derive(
        passphrase
    )
    padder = padding.PKCS7(128).padder()
    encryptor = Cipher(algorithms.AES(stretched), modes.CBC(iv)).encryptor()
    sealed = encryptor.update(padder.update(plain) + padder.finalize()) + encryptor.finalize()

    scrypt = _sequence(
        _der(0x04, salt), *map(_integer, (SCRYPT_COST, SCRYPT_BLOCK_SIZE, SCRYPT_PARALLEL, 32))
    )
    scheme = _sequence(_sequence(_OID_SCRYPT, scrypt), _sequence(_OID_AES256_CBC, _der(0x04, iv)))
    der = _sequence(_sequence(_OID_PBES2, scheme), _der(0x04, sealed))
    text = binascii.b2a_base64(der, newline=False)
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return b"\n".join(
        [b"-----BEGIN ENCRYPTED PRIVATE KEY-----", *lines, b"-----END ENCRYPTED PRIVATE KEY-----", b""]
    )


def decrypt_private_key(pem: bytes, passphrase: bytes) -> PrivateKey:
    """The key in an encrypted PEM, ours or that of another tool. Raises as read_private_key does."""
    if not is_encrypted(pem):
        raise Refused("key.unencrypted", "the private key is not encrypted: treat it as compromised")
    _require_passphrase(passphrase)
    try:
        return _load(pem, passphrase)
    except ValueError as e:
        # With CBC a wrong passphrase and a damaged file cannot always be told apart.
        raise Unverifiable(
            "key.passphrase", "the passphrase does not open this key (or the file is damaged)"
        ) from e


def load_plain_private_key(pem: bytes) -> PrivateKey:
    """The key in an unencrypted PEM, for places that keep secrets themselves."""
    try:
        return _load(pem, None)
    except (ValueError, TypeError) as e:
        raise Malformed("key.file", "not a PKCS#8 private key in PEM") from e


def is_encrypted(pem: bytes) -> bool:
    """Whether this PEM needs a passphrase; Malformed "key.file" if it is no private key in PKCS#8."""
    if not (found := _PEM.fullmatch(pem)):
        raise Malformed("key.file", "not one PKCS#8 private key in PEM")
    return found.group(1).startswith(b"ENCRYPTED")


def read_passphrase(source: str, *, confirm: bool = False) -> bytes:
    """The passphrase from where the user says it is, without ever showing it.

    source   "prompt" (the terminal), "env:NAME", or "file:PATH" (its first line; nobody else may read it)
    confirm  ask twice at the prompt, before something new is encrypted

    Raises Malformed "key.passphrase.source"; Unverifiable "key.passphrase" if there is none to be had;
    Refused "key.passphrase.empty", "key.passphrase.differs", "key.file.mode".
    """
    scheme, _, name = source.partition(":")
    if source == "prompt":
        passphrase = _prompt("Passphrase: ")
        if confirm and _prompt("The same once more: ") != passphrase:
            raise Refused("key.passphrase.differs", "the two passphrases differ")
    elif scheme == "env" and name:
        value = os.environb.get(os.fsencode(name))
        if value is None:
            raise Unverifiable("key.passphrase", f"the environment has no variable {name}")
        passphrase = value
    elif scheme == "file" and name:
        passphrase = read_private_file(name).split(b"\n", 1)[0].removesuffix(b"\r")
    else:
        raise Malformed("key.passphrase.source", 'wanted is "prompt", "env:NAME" or "file:PATH"')
    _require_passphrase(passphrase)
    return passphrase


def _prompt(question: str) -> bytes:
    try:
        with warnings.catch_warnings():
            # Without a terminal getpass would warn and then echo what is typed.
            warnings.simplefilter("error", getpass.GetPassWarning)
            return getpass.getpass(question).encode()
    except (getpass.GetPassWarning, EOFError, OSError) as e:
        raise Unverifiable(
            "key.passphrase", "there is no terminal to ask at: use env:NAME or file:PATH"
        ) from e


def _require_passphrase(passphrase: bytes) -> None:
    if not 1 <= len(passphrase) <= PASSPHRASE_SIZE_MAX:
        raise Refused("key.passphrase.empty", f"a passphrase has 1 to {PASSPHRASE_SIZE_MAX} bytes")


def _load(pem: bytes, passphrase: bytes | None) -> PrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, passphrase)
    except UnsupportedAlgorithm as e:
        raise Unverifiable("key.type", "a kind of key, or of encryption, that is not known here") from e
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return Ed25519PrivateKey(key.private_bytes_raw())
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return P256PrivateKey(key)
    raise Unverifiable("key.type", "a private key of another kind; Ed25519 and P-256 are known")


def _sync_folder(folder: Path) -> None:
    # The file is durable, but its name is not before the folder is.
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _der(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 128:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def _sequence(*parts: bytes) -> bytes:
    return _der(0x30, b"".join(parts))


def _integer(value: int) -> bytes:
    return _der(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))
