"""Sorting certificates: only their order changes, and only where there are any."""

from __future__ import annotations

from asn1crypto import cms, tsp
from asn1crypto import x509 as asn1_x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st
from tt_anchor import Clock, MisbehavingAuthority, identity

from anchoring.der import sort_certificates
from anchoring.rfc3161 import TokenVerifier, build_query

MESSAGE = b"\x07" * 32
BYSTANDERS = [identity().root for _ in range(3)]


class ChattyAuthority(MisbehavingAuthority):
    """Sends certificates that nobody needs, in the order it was told."""

    order: tuple[int, ...] = ()

    def signed_data(self, content, with_certificate):
        fields = super().signed_data(content, with_certificate)
        ders = [BYSTANDERS[i].public_bytes(Encoding.DER) for i in self.order]
        more = [cms.CertificateChoices("certificate", asn1_x509.Certificate.load(der)) for der in ders]
        # As a list in the order given: the library's own SET would sort it.
        fields["certificates"] = [*more, *fields["certificates"]]
        return fields


def certificates(answer):
    signed = tsp.TimeStampResp.load(answer)["time_stamp_token"]["content"]
    return [one.dump() for one in signed["certificates"]]


def unsorted(answer):
    """The answer with its certificates in reverse order."""
    listed = certificates(answer)
    joined = b"".join(listed)
    assert answer.count(joined) == 1
    return answer.replace(joined, b"".join(reversed(listed)))


def test_unsorted_certificates_are_sorted_and_nothing_else_moves():
    tsa = ChattyAuthority(Clock(), identity())
    tsa.order = (0, 1, 2)
    query = build_query(MESSAGE)
    answer = tsa.answer(query.der)
    assert sort_certificates(answer) == answer
    shuffled = unsorted(answer)
    assert shuffled != answer
    assert sort_certificates(shuffled) == answer
    assert TokenVerifier([tsa.identity.root]).verify_response(shuffled, MESSAGE, query.nonce)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60))
def test_any_other_bytes_are_left_as_they_are(data):
    assert sort_certificates(data) == data


def test_altered_answers_never_break_the_sorting():
    tsa = MisbehavingAuthority(Clock(), identity())
    answer = tsa.answer(build_query(MESSAGE).der)
    for position in range(len(answer)):
        for value in (0x00, 0x30, 0x80, 0xA0, 0xFF):
            altered = answer[:position] + bytes([value]) + answer[position + 1 :]
            assert len(sort_certificates(altered)) == len(altered)
    for end in range(0, len(answer), 7):
        assert sort_certificates(answer[:end]) == answer[:end]
