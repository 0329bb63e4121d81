"""Step 4 of 9: the standard's words as XML spells them (URN, web URI, or with a prefix) and as JSON does.

Source: CBV 2.0, section 7; EPCIS 2.0, section 9.5.
"""

from __future__ import annotations

from collections.abc import Iterable

from traceability.epcis import vocabulary as words

_WEB = "https://ref.gs1.org/cbv/"
_VOC = "https://gs1.org/voc/"


def _spellings(vocabulary: Iterable[str], urn: str | None, web: str, prefix: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in vocabulary:
        found[web + word] = word
        found[prefix + word] = word
        if urn is not None:
            found[f"urn:epcglobal:cbv:{urn}:{word}"] = word
    return found


# Every spelling of a word of the standard -> the bare word. What is not here is somebody's own URI.
BIZ_STEPS = _spellings(words.BIZ_STEPS, "bizstep", _WEB + "BizStep-", "cbv:BizStep-")
DISPOSITIONS = _spellings(words.DISPOSITIONS, "disp", _WEB + "Disp-", "cbv:Disp-")
BIZ_TRANSACTION_TYPES = _spellings(words.BIZ_TRANSACTION_TYPES, "btt", _WEB + "BTT-", "cbv:BTT-")
SOURCE_DEST_TYPES = _spellings(words.SOURCE_DEST_TYPES, "sdt", _WEB + "SDT-", "cbv:SDT-")
ERROR_REASONS = _spellings(words.ERROR_REASONS, "er", _WEB + "ER-", "cbv:ER-")
COMPONENTS = _spellings(words.COMPONENTS, None, _WEB + "Comp-", "cbv:Comp-")
MEASUREMENT_TYPES = _spellings(words.MEASUREMENT_TYPES, None, _VOC, "gs1:")
SENSOR_ALERTS = _spellings(words.SENSOR_ALERTS, None, _VOC, "gs1:")


def _written(vocabulary: Iterable[str], stem: str) -> dict[str, str]:
    return {word: stem + word for word in vocabulary}


# The bare word -> how 2.0 XML is written: URNs where CBV has them, web URIs where it has none.
WRITE_BIZ_STEPS = _written(words.BIZ_STEPS, "urn:epcglobal:cbv:bizstep:")
WRITE_DISPOSITIONS = _written(words.DISPOSITIONS, "urn:epcglobal:cbv:disp:")
WRITE_BIZ_TRANSACTION_TYPES = _written(words.BIZ_TRANSACTION_TYPES, "urn:epcglobal:cbv:btt:")
WRITE_SOURCE_DEST_TYPES = _written(words.SOURCE_DEST_TYPES, "urn:epcglobal:cbv:sdt:")
WRITE_ERROR_REASONS = _written(words.ERROR_REASONS, "urn:epcglobal:cbv:er:")
WRITE_COMPONENTS = _written(words.COMPONENTS, _WEB + "Comp-")
WRITE_MEASUREMENT_TYPES = _written(words.MEASUREMENT_TYPES, _VOC)
WRITE_SENSOR_ALERTS = _written(words.SENSOR_ALERTS, _VOC)
