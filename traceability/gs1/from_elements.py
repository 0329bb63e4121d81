"""Step 4 of 9: which thing the AIs of a label or a link are about, as its canonical name.

The first primary key leads, as in a Digital Link, and its most granular qualifier says which thing exactly.
"""

from __future__ import annotations

from collections.abc import Sequence

from traceability.gs1.ai_table import ai_table
from traceability.gs1.digital_link import render_digital_link
from traceability.gs1.elements import Element


def name_of(elements: Sequence[Element]) -> str | None:
    """The canonical Digital Link of what these are about; None if none of them is a primary key.

    The elements are good already. (235) comes before (10), for a pack with both is one pack, not its lot.
    """
    values: dict[str, str] = {}
    for element in elements:
        values.setdefault(element.ai, element.value)
    code = next((code for code in values if ai_table()[code].paths is not None), None)
    if code is None:
        return None
    paths = ai_table()[code].paths or ()
    for way in sorted(paths, key=len):  # what stands alone is as granular as can be
        for qualifier in reversed(way):
            if qualifier in values and not _is_none(qualifier, values[qualifier]):
                return render_digital_link(code, values[code], (qualifier, values[qualifier]))
    return render_digital_link(code, values[code])


def _is_none(qualifier: str, value: str) -> bool:
    return (qualifier, value) == ("254", "0")  # an SGLN extension of 0 is none: Tag Data Standard, 6.3.3
