"""Step 4 of 9: EPCIS in XML. 2.0 and 1.x are read into the events that JSON-LD has; 2.0 is written.

read_document() is the way in, write_document() the way out; both know nothing of who signed what.
"""

from __future__ import annotations

from traceability.epcis_xml.document import XmlDocument, XmlEvent, is_xml, read_document
from traceability.epcis_xml.faults import XmlFault
from traceability.epcis_xml.parse import SIZE_MAX, XmlRefused
from traceability.epcis_xml.write import NotWritable, write_document

__all__ = [
    "SIZE_MAX",
    "NotWritable",
    "XmlDocument",
    "XmlEvent",
    "XmlFault",
    "XmlRefused",
    "is_xml",
    "read_document",
    "write_document",
]
