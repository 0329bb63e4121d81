"""XML that wants more than to be read: each way in is refused before anything is built or fetched."""

from __future__ import annotations

import socket
import time

import pytest
from tt_epcis_xml import EVENT_2_0, document

from traceability.epcis_xml import XmlRefused, read_document
from traceability.epcis_xml import parse as parsing

LAUGHS = '<!DOCTYPE x [<!ENTITY a "ha">' + "".join(
    f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
DOCTYPES = {
    "billion laughs": LAUGHS + "]>",
    "quadratic blow-up": f'<!DOCTYPE x [<!ENTITY a "{"a" * 50_000}">]>',
    "an external entity in a file": '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>',
    "an external entity on the web": '<!DOCTYPE x [<!ENTITY a SYSTEM "http://127.0.0.1:9/x">]>',
    "an external entity by public id": '<!DOCTYPE x [<!ENTITY a PUBLIC "-//A//B" "http://127.0.0.1:9/x">]>',
    "an external subset": '<!DOCTYPE x SYSTEM "http://127.0.0.1:9/x.dtd">',
    "an external subset in a file": '<!DOCTYPE x SYSTEM "file:///etc/passwd">',
    "parameter entities": '<!DOCTYPE x [<!ENTITY % p SYSTEM "http://127.0.0.1:9/x.dtd"> %p;]>',
    "nested parameter entities": "<!DOCTYPE x [<!ENTITY % a '<!ENTITY &#37; b \"x\">'> %a; %b;]>",
    "an unparsed entity": '<!DOCTYPE x [<!NOTATION n SYSTEM "n"><!ENTITY a SYSTEM "x" NDATA n>]>',
    "default attributes": '<!DOCTYPE x [<!ATTLIST ObjectEvent ex:a CDATA "1">]>',
    "a type with nothing in it": "<!DOCTYPE x>",
    "a type behind a comment": "<!-- <a> --><!DOCTYPE x>",
    "a type behind an instruction": "<?x <!-- ?>\n<!DOCTYPE x>",
    "an element declared before the root": "<!ELEMENT x ANY>",
}


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("somebody opened a socket")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)


def _code(data: bytes, **limits: int) -> str:
    with pytest.raises(XmlRefused) as caught:
        read_document(data, **limits)
    return caught.value.code


@pytest.mark.parametrize("doctype", DOCTYPES.values(), ids=DOCTYPES)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.usefixtures("no_network")
def test_a_document_type_is_refused_in_any_encoding_and_quickly(doctype, encoding):
    text = document(EVENT_2_0.replace("OBSERVE", "&a;"), before=doctype).decode()
    started = time.perf_counter()
    assert _code(text.encode(encoding)) == "xml.doctype"
    assert time.perf_counter() - started < 0.5


def test_a_document_type_behind_a_declaration_is_refused_with_its_line():
    data = document(before='<?xml version="1.0"?>\n\n<!DOCTYPE x>')
    with pytest.raises(XmlRefused) as caught:
        read_document(data)
    assert (caught.value.code, caught.value.line) == ("xml.doctype", 3)


@pytest.mark.parametrize("text", ["<!DOCTYPE x>", "<![CDATA[<!DOCTYPE x>]]>", "<!-- <!DOCTYPE x> -->OBSERVE"])
def test_the_words_of_a_type_are_no_type_where_a_text_says_them(text):
    escaped = text.replace("<!D", "&lt;!D") if text.startswith("<!D") else text
    read = read_document(document(EVENT_2_0.replace("OBSERVE", escaped)))
    assert [f.code for f in read.faults] == ([] if text.endswith("OBSERVE") else ["epcis.action"])


@pytest.mark.parametrize("entity", ["&a;", "&xxe;", "%a;&a;"])
def test_an_entity_that_nobody_defined_is_a_syntax_error(entity):
    assert _code(document(EVENT_2_0.replace("OBSERVE", entity))) == "xml.syntax"


def test_predefined_entities_and_character_references_are_characters():
    tag = "<ex:a>&lt;&amp;&#x26;amp;</ex:a></ObjectEvent>"
    read = read_document(document(EVENT_2_0.replace("</ObjectEvent>", tag)))
    assert read.events[0].value["ex:a"] == "<&&amp;"


@pytest.mark.parametrize("reference", ["&#0;", "&#xD800;", "&#x110000;", "&#xFFFE;"])
def test_a_reference_to_what_is_no_character_is_a_syntax_error(reference):
    assert _code(document(EVENT_2_0.replace("OBSERVE", reference))) == "xml.syntax"


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("href", ["file:///etc/passwd", "http://127.0.0.1:9/x", "/etc/passwd"])
def test_xinclude_is_left_alone(href):
    tag = f'<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="{href}" parse="text"/></ObjectEvent>'
    read = read_document(document(EVENT_2_0.replace("</ObjectEvent>", tag)))
    assert read.events[0].value["xi:include"] == {"href": href, "parse": "text"}


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    "hint",
    [
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="a http://127.0.0.1:9/x.xsd"',
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:noNamespaceSchemaLocation="file:///etc/passwd"',
        'xml:base="http://127.0.0.1:9/"',
    ],
)
def test_hints_to_elsewhere_are_not_followed(hint):
    assert read_document(document(root=hint)).faults == ()


@pytest.mark.usefixtures("no_network")
def test_stylesheets_and_other_instructions_mean_nothing():
    before = '<?xml-stylesheet type="text/xsl" href="http://127.0.0.1:9/x"?><?php die(); ?>'
    assert read_document(document(before=before)).faults == ()


ENCODINGS = {
    "UTF-7 as declared": b'<?xml version="1.0" encoding="UTF-7"?>+ADw-x/+AD4-',
    "UTF-16 declared, ASCII bytes": document(before='<?xml version="1.0" encoding="UTF-16"?>'),
    "UTF-8 declared, UTF-16 bytes": document(before='<?xml version="1.0" encoding="UTF-8"?>')
    .decode()
    .encode("utf-16"),
    "UTF-16 bytes without a mark": document().decode().encode("utf-16-le"),
    "UTF-32": document().decode().encode("utf-32"),
    "UTF-8 mark, another declared": b"\xef\xbb\xbf"
    + document(before='<?xml version="1.0" encoding="ISO-8859-1"?>'),
    "EBCDIC": document(before='<?xml version="1.0" encoding="cp037"?>').decode().encode("cp037"),
    "an encoding of no name": document(before='<?xml version="1.0" encoding=""?>'),
    "an encoding with a path": document(before='<?xml version="1.0" encoding="../../x"?>'),
    "ASCII declared, more in the bytes": document(
        before='<?xml version="1.0" encoding="US-ASCII"?>', root='ex:a="é"'
    ),
    "not UTF-8": document(root='ex:a="é"').replace("é".encode(), b"\xe9"),
    "overlong UTF-8": document(root='ex:a="@"').replace(b"@", b"\xc1\x80"),
    "a surrogate in UTF-8": document(root='ex:a="@"').replace(b"@", b"\xed\xa0\x80"),
}


@pytest.mark.parametrize("data", ENCODINGS.values(), ids=ENCODINGS)
def test_bytes_that_are_not_what_they_claim_are_refused(data):
    assert _code(data) in ("xml.encoding", "xml.syntax")


@pytest.mark.parametrize(
    "before", ["", '<?xml version="1.0" encoding="utf-8"?>\n', "<?xml version='1.0'?>\n"]
)
def test_good_encodings_say_the_same(before):
    tag = "<ex:a>Käse 🧀</ex:a></ObjectEvent>"
    text = document(EVENT_2_0.replace("</ObjectEvent>", tag), before=before).decode()
    expected = read_document(text.encode()).events[0].value
    assert expected["ex:a"] == "Käse 🧀"
    assert read_document(text.encode("utf-8-sig")).events[0].value == expected
    wide = text.replace("utf-8", "utf-16").encode("utf-16")
    assert read_document(wide).events[0].value == expected


def test_latin_1_is_read_where_it_is_declared():
    before = '<?xml version="1.0" encoding="ISO-8859-1"?>'
    tag = "<ex:a>Käse</ex:a></ObjectEvent>"
    data = document(EVENT_2_0.replace("</ObjectEvent>", tag), before=before).decode().encode("latin-1")
    assert read_document(data).events[0].value["ex:a"] == "Käse"


def test_lines_are_counted_as_the_sender_sees_them():
    for before in ("", '<?xml version="1.0"?>\n', '<?xml\nversion="1.0"\n?>\n<!-- a\nb -->\n'):
        data = document(EVENT_2_0.replace("OBSERVE", "LOOK"), before=before)
        (fault,) = read_document(data).faults
        assert data.decode().splitlines()[fault.line - 1].strip() == "<action>LOOK</action>"


NAMESPACES = {
    "no namespace": document().replace(b"urn:epcglobal:epcis:xsd:2", b""),
    "one like it": document().replace(b"urn:epcglobal:epcis:xsd:2", b"urn:epcglobal:epcis:xsd:2/"),
    "another case": document().replace(b"urn:epcglobal:epcis:xsd:2", b"URN:epcglobal:epcis:xsd:2"),
    "a web address": document().replace(b"urn:epcglobal:epcis:xsd:2", b"https://ref.gs1.org/epcis/"),
    "of a time to come": document().replace(b"urn:epcglobal:epcis:xsd:2", b"urn:epcglobal:epcis:xsd:3"),
    "of queries": document().replace(b"epcglobal:epcis:xsd:2", b"epcglobal:epcis-query:xsd:2"),
    "another root": document().replace(b"epcis:EPCISDocument", b"epcis:Document"),
    "html": b"<!-- x --><html><body/></html>",
    "an empty SOAP body": b'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body/></s:Envelope>',
    "two in a SOAP body": b'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><a/><b/></s:Body></s:Envelope>',
    "SOAP in SOAP": b'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><s:Envelope/></s:Body></s:Envelope>',
}


@pytest.mark.parametrize("data", NAMESPACES.values(), ids=NAMESPACES)
def test_a_root_that_is_not_epcis_is_refused(data):
    assert _code(data.replace(b'xmlns:epcis=""', b"")) in ("xml.root", "xml.syntax")


def test_a_namespace_and_a_version_that_differ_are_refused():
    data = document().replace(b'schemaVersion="2.0"', b'schemaVersion="1.2"')
    assert _code(data) == "xml.version"


@pytest.mark.parametrize("tag", ["EPCISBody", "EventList", "ObjectEvent"])
def test_elements_of_the_standard_in_a_namespace_are_not_taken_for_its_own(tag):
    data = document().replace(f"<{tag}>".encode(), f'<{tag} xmlns="https://evil.example/">'.encode(), 1)
    try:
        read = read_document(data)
    except XmlRefused as e:
        assert e.code == "xml.body"  # noqa: PT017
    else:
        assert all(e.value["type"] != "ObjectEvent" for e in read.events)


@pytest.mark.parametrize("tag", ["EPCISBody", "EventList", "ObjectEvent"])
def test_the_common_mistake_of_a_default_namespace_is_explained(tag):
    data = document().replace(f"<{tag}>".encode(), f'<{tag} xmlns="urn:epcglobal:epcis:xsd:2">'.encode(), 1)
    try:
        faults = read_document(data).faults
    except XmlRefused as e:
        faults = (e,)
    assert any("prefix" in f.fix for f in faults)


def test_size_is_bounded_before_anything_is_read():
    assert _code(document(), size_max=100) == "xml.size"
    assert _code(b"x" * (parsing.SIZE_MAX + 1)) == "xml.size"


def test_elements_and_attributes_are_bounded(monkeypatch):
    monkeypatch.setattr(parsing, "NODES_MAX", 100)
    assert _code(document("<a/>" * 101)) == "xml.nodes"
    monkeypatch.setattr(parsing, "ATTRIBUTES_MAX", 100)
    assert _code(document("<a " + " ".join(f'b{i}=""' for i in range(101)) + "/>")) == "xml.nodes"


@pytest.mark.parametrize("depth", [300, 5_000, 200_000])
def test_nesting_is_bounded(depth):
    deep = "<ex:d>" * depth + "</ex:d>" * depth
    assert _code(document(EVENT_2_0.replace("</ObjectEvent>", deep + "</ObjectEvent>"))) == "xml.depth"


@pytest.mark.parametrize("tag", ["ex:d", "extension", "baseExtension"])
def test_nesting_that_a_parser_allows_is_still_bounded(tag):
    deep = f"<{tag}>" * 100 + f"</{tag}>" * 100
    read = read_document(document(EVENT_2_0.replace("</ObjectEvent>", deep + "</ObjectEvent>")))
    assert {f.code for f in read.faults} <= {"xml.depth", "xml.element"}
    assert read.faults


@pytest.mark.parametrize(
    "where",
    [
        "<action>{}</action>",
        "<ex:a>{}</ex:a>",
        '<ex:a b="{}"/>',
        '<sourceList><source type="urn:{}">urn:x:y</source></sourceList>',
        '<sensorElementList><sensorElement><sensorReport type="urn:{}"/></sensorElement></sensorElementList>',
    ],
)
def test_long_values_are_refused(where):
    long = where.format("x" * (parsing.TEXT_MAX + 1))
    read = read_document(document(EVENT_2_0.replace("<action>OBSERVE</action>", long)))
    assert "xml.text" in [f.code for f in read.faults]


def test_a_huge_attribute_or_text_is_refused_by_size_or_length():
    for where in ('<ex:a b="{}"/>', "<ex:a>{}</ex:a>", "<ex:{}/>"):
        huge = where.format("x" * 11_000_000)
        data = document(EVENT_2_0.replace("<action>", huge + "<action>"))
        try:
            assert "xml.text" in [f.code for f in read_document(data).faults]
        except XmlRefused as e:
            assert e.code in ("xml.text", "xml.syntax")  # noqa: PT017


def test_many_attributes_of_one_element_take_linear_time():
    many = " ".join(f'ex:a{i}="1"' for i in range(20_000))
    started = time.process_time()
    read = read_document(
        document(EVENT_2_0.replace("<ObjectEvent>", f"<ObjectEvent {many}>")), validate=False
    )
    assert time.process_time() - started < 4
    assert read.events[0].value["ex:a19999"] == "1"


def test_ten_thousand_faults_are_all_found_in_seconds():
    bad = EVENT_2_0.replace("OBSERVE", "LOOK")
    started = time.perf_counter()
    read = read_document(document(*([bad] * 10_000)))
    assert time.perf_counter() - started < 20
    assert len(read.faults) == 10_000
    assert read.faults[-1].xpath.endswith("/ObjectEvent[10000]/action")


MASSES = {
    "unknown elements in one list": EVENT_2_0.replace("<epc>", "<x/>" * 60_000 + "<epc>"),
    "bad EPCs behind many good ones": EVENT_2_0.replace(
        "<epc>", "<epc>urn:x:y</epc>" * 30_000 + "<epc>urn:epc:id:sgtin:1.2.3</epc>" * 10_001 + "<epc>"
    ),
    "bad events": EVENT_2_0.replace("OBSERVE", "LOOK") * 10_001,
}


@pytest.mark.parametrize("events", MASSES.values(), ids=MASSES)
def test_a_mass_of_faults_costs_no_more_than_its_size(events):
    started = time.perf_counter()
    read = read_document(document(events))
    assert time.perf_counter() - started < 5  # 0.2 to 0.8 s alone; lxml's own paths took a minute
    assert len(read.faults) == 10_001
    assert read.faults[-1].code == "epcis.faults"
    assert all(event.faults for event in read.events)


def test_an_event_behind_ten_thousand_faults_is_still_not_valid():
    bad = EVENT_2_0.replace("<epc>", "<x/>" * 10_000 + "<epc>")
    late = EVENT_2_0.replace("<action>", "<x/><action>")
    read = read_document(document(bad, late, EVENT_2_0))
    assert [bool(event.faults) for event in read.events] == [True, True, False]
    assert "not listed" in read.faults[-1].detail


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<",
        b"<a",
        b"\x00",
        b"{}",
        b"<a></b>",
        document()[:-30],
        document() + b"<x/>",
        document() + b"x",
        b"<?xml?>",
    ],
)
def test_what_is_no_xml_is_refused_with_a_reason(data):
    assert _code(data) in ("xml.syntax", "xml.encoding", "xml.root")
