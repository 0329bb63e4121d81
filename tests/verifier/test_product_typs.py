"""What a verifier cannot read yet it neither believes nor calls false."""

from __future__ import annotations

import pytest
from tt_epcis import PACK, object_event

from traceability.errors import NoReader
from verifier.product import Told, require_about

PACK_NAME = "https://id.gs1.org/01/09521141123454/21/100"


@pytest.mark.parametrize("typ", ["epcis-batch+jws", "epcis-xml+jws", ""])
def test_an_event_of_another_class_is_not_judged_as_a_bare_one(typ: str) -> None:
    assert PACK in object_event()["epcList"]
    for payload in (b"{}", b'{"type":"EPCISDocument","epcisBody":{"eventList":[]}}'):
        with pytest.raises(NoReader):
            require_about(PACK_NAME, [Told(7, typ, payload)])
