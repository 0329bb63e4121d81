"""Step 1 of 9: sign. A private key, by the URI of where it is kept.

    file:/etc/tallystick/registrar.pem    an encrypted key file (keys.files)
    env:TALLYSTICK_LOG_KEY                a PEM in the environment, from a keeper of secrets

Whatever signs needs a PrivateKey and nothing more, so a key that never leaves its hardware fits the same
place.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from keys.algorithms import PrivateKey
from keys.errors import Malformed, Unverifiable
from keys.files import decrypt_private_key, is_encrypted, load_plain_private_key, read_private_file


def load_signer(uri: str, passphrase: Callable[[], bytes]) -> PrivateKey:
    """The signer that this URI names.

    passphrase  asked only when the key turns out to be encrypted

    Raises Malformed "signer.uri"; Unverifiable "signer.scheme", or "signer.env" if the variable is not set;
    otherwise as keys.files.read_private_key. A file must be encrypted; the environment need not.
    """
    scheme, _, place = uri.partition(":")
    if not place:
        raise Malformed("signer.uri", 'wanted is "file:PATH" or "env:NAME"')
    if scheme == "file":
        pem = read_private_file(place)
        return decrypt_private_key(pem, passphrase() if is_encrypted(pem) else b"")
    if scheme == "env":
        value = os.environb.get(os.fsencode(place))
        if value is None:
            raise Unverifiable("signer.env", f"the environment has no variable {place}")
        return (
            decrypt_private_key(value, passphrase()) if is_encrypted(value) else load_plain_private_key(value)
        )
    raise Unverifiable("signer.scheme", f"no signer for the scheme {scheme[:32]!r}; there are file and env")
