"""Step 8 of 9: a subscriber's signatureToken, at rest. What is in the database and its backups is sealed.

It must come back whole to sign with (HMAC), so it cannot be kept as a hash. AES-256-GCM, with a key of this
server's own folder and the subscription's id as associated data: a row that is moved does not open.

    nonce (12) | ciphertext | tag (16)
"""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keys.errors import Unverifiable

KEY_SIZE = 32
NONCE_SIZE = 12


def seal(token: str, subscription_id: str, key: bytes) -> bytes:
    """Seal a token of this subscription."""
    nonce = os.urandom(NONCE_SIZE)
    return nonce + AESGCM(key).encrypt(nonce, token.encode(), subscription_id.encode())


def open_sealed(sealed: bytes, subscription_id: str, key: bytes) -> str:
    """The token. Raises Unverifiable where key, id or bytes are not the ones it was sealed with."""
    try:
        opened = AESGCM(key).decrypt(sealed[:NONCE_SIZE], sealed[NONCE_SIZE:], subscription_id.encode())
    except (InvalidTag, ValueError) as error:
        raise Unverifiable(
            "subscription.token",
            f"the signature token of {subscription_id} does not open: is this the server's subscription key?",
        ) from error
    return opened.decode()
