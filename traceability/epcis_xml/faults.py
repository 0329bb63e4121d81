"""Step 4 of 9: a fault in an XML document: where it stands there, as well as in the event derived from it."""

from __future__ import annotations

from traceability.errors import EventFault


class XmlFault(EventFault):
    """One thing wrong with an XML document.

    pointer  JSON pointer into the document derived from it; "" where nothing was derived
    line     counted from 1; 0 where no line is to blame
    xpath    of the element or attribute; "" where the text is no XML
    """

    def __init__(
        self, code: str, detail: str, pointer: str = "", fix: str = "", *, line: int = 0, xpath: str = ""
    ) -> None:
        super().__init__(code, detail, pointer, fix)
        self.line = line
        self.xpath = xpath
