"""Step 9 of 9: a compact JWS that was just made from its parts, and the parts. For whoever judges many."""

from __future__ import annotations


class JwsText(bytes):
    """The text, and the bytes that its header and its signature are the base64url of.

    Only for the code that encodes them: who has one need not look at the spelling again, nor decode it.
    """

    header: bytes
    signature: bytes  # 64 bytes


def jws_text(text: bytes, header: bytes, signature: bytes) -> JwsText:
    """text  exactly base64url(header) . base64url(payload) . base64url(signature)"""
    made = JwsText(text)
    made.header, made.signature = header, signature
    return made
