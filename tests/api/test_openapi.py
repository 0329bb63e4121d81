"""The description is valid, says what the server serves and nothing else, and is readable as a page."""

from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser

import jsonschema_rs
import pytest
import tt_openapi
import tt_site
from openapi_spec_validator import OpenAPIV31SpecValidator
from tt_served import Served

from api import problems
from traceability.queries.families import CONTROLS, FIXED

# Static resources by their specification, and probes of others' making: what stands behind ? is ignored.
LENIENT = ("/checkpoint", "/tile/{name}", "/healthz", "/metrics")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    served = Served(tmp_path_factory.mktemp("openapi"))
    yield served
    served.close()


@pytest.fixture(scope="module")
def document(site):
    return site.client.get("/openapi.json").json


def operations(document):
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield path, method, operation


def walk(value, place=""):
    yield place, value
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from walk(inner, f"{place}/{name.replace('~', '~0').replace('/', '~1')}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from walk(inner, f"{place}/{index}")


def test_it_is_valid(document):
    assert document["openapi"].startswith("3.1.")
    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda found: found["paths"]["/keys"]["post"]["responses"]["200"].pop("description"),
        lambda found: found["paths"]["/receipts/{seq}"]["get"].pop("parameters"),
        lambda found: found["info"].pop("title"),
        lambda found: found["paths"]["/keys"]["post"].update(operationId="readTrust"),
    ],
)
def test_damage_would_be_seen(site, damage):
    broken = site.client.get("/openapi.json").json
    damage(broken)
    assert list(OpenAPIV31SpecValidator(broken).iter_errors())


def test_it_describes_what_is_served_and_nothing_else(site, document):
    require_described(site.app, document)


def test_what_is_not_served_is_not_described(tmp_path):
    """Without a projection and without jobs, their interfaces are neither."""
    bare = tt_site.Site(tmp_path)
    document = bare.client.get("/openapi.json").json
    require_described(bare.app, document)
    assert "/events" not in document["paths"]
    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []
    assert bare.client.get("/docs/api").status_code == 200
    bare.close()


def require_described(app, document):
    served = set()
    for rule in app.url_map.iter_rules():
        for path in tt_openapi.paths_of(rule.rule):
            served |= {(path, method.lower()) for method in rule.methods or ()}
    described = {(path, method) for path, method, _ in operations(document)}
    assert served == described


def test_arguments_are_those_that_are_read(site, document):
    """What a route refuses as unknown is not described, and what is described is not refused as unknown."""
    for path, method, operation in operations(document):
        if method != "get" or operation["tags"] == ["Consumers"] or path in LENIENT:
            continue
        target = tt_openapi.filled(path, operation)
        strict = site.client.get(f"{target}?no-such-argument=1")
        described = [one["name"] for one in operation.get("parameters", ()) if one.get("in") == "query"]
        if strict.json["code"] in ("query.unknown", "epcis.resource", "query.name.unknown"):
            continue  # parameters of queries have a test of their own
        assert strict.json["code"] == "http.argument.unknown", path
        known = re.search(r"known: (.*)$", strict.json["detail"]).group(1)
        assert known == (", ".join(described) or "none"), path


def test_every_parameter_of_queries_is_described(document):
    shared = document["components"]["parameters"]
    assert set(FIXED) | CONTROLS <= set(shared)
    for name, parameter in FIXED.items():
        assert (shared[name]["schema"]["type"] == "array") == (not parameter.is_single), name


def test_references_lead_somewhere_and_everything_is_used(document):
    used = {value["$ref"] for _, value in walk(document) if isinstance(value, dict) and "$ref" in value}
    named = {
        f"#/components/{kind}/{name}" for kind, found in document["components"].items() for name in found
    }
    assert used <= named
    kept = {name for name in named - used if "/responses/" not in name and "/headers/" not in name}
    assert kept == set()


def test_examples_are_what_their_schemas_say(document):
    checked = 0
    for place, value in walk(document):
        if not isinstance(value, dict) or "example" not in value or "schema" not in value:
            continue
        schema = {**value["schema"], "components": document["components"]}
        jsonschema_rs.validator_for(schema, validate_formats=True).validate(value["example"])
        checked += 1
        assert place
    assert checked > 40


def test_every_status_that_is_given_out_is_described(document):
    described = {name.removeprefix("Problem") for name in document["components"]["responses"]}
    given = {str(int(status)) for _, status in problems._STATUS_OF}
    assert given <= described
    for path, method, operation in operations(document):
        if method in ("get", "post", "delete"):
            assert {"500", "503"} <= set(operation["responses"]), path
        if "requestBody" in operation:
            assert {"400", "408", "411", "413", "415"} <= set(operation["responses"]), path


def test_names_are_given_once(document):
    names = Counter(operation["operationId"] for _, _, operation in operations(document))
    assert [name for name, times in names.items() if times > 1] == []
    assert all(re.fullmatch(r"[a-z][A-Za-z0-9]+", name) for name in names)


def test_whoever_has_it_already_is_told_so(site):
    for path in ("/openapi.json", "/docs/api"):
        first = site.client.get(path)
        again = site.client.get(path, headers={"If-None-Match": first.headers["ETag"]})
        assert (first.status_code, again.status_code, again.data) == (200, 304, b"")


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.ids: Counter[str] = Counter()
        self.targets: list[str] = []
        self.tags: set[str] = set()
        self.sources: list[str] = []

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.tags.add(tag)
        if "id" in found:
            self.ids[found["id"]] += 1
        if tag == "a":
            self.targets.append(found["href"])
        self.sources += [value for name, value in attrs if name in ("src", "srcset") or name.startswith("on")]


def test_the_page_needs_no_script_and_no_network(site, document):
    response = site.client.get("/docs/api")
    links = Links()
    links.feed(response.text)
    assert not links.tags & {"script", "iframe", "img", "object"}
    assert links.sources == []
    assert "url(" not in response.text
    assert "@import" not in response.text
    assert "script" not in response.headers["Content-Security-Policy"]
    assert [name for name, times in links.ids.items() if times > 1] == []
    for target in links.targets:
        assert target in ("/", "/openapi.json") or links.ids[target.removeprefix("#")] == 1, target
    for _, method, operation in operations(document):
        assert (operation["operationId"] in links.ids) == (method not in ("head", "options"))
    assert {f"schema-{name}" for name in document["components"]["schemas"]} <= set(links.ids)


def test_what_stands_in_the_document_cannot_become_markup():
    from api.openapi.view import inline, kind_of

    assert inline("a <b> `<i>`") == "a &lt;b&gt; <code>&lt;i&gt;</code>"
    assert kind_of({"$ref": '#/components/schemas/"><script>'}).count("<script>") == 0
    assert kind_of({"enum": ["<script>"]}) == "<code>&lt;script&gt;</code>"


@pytest.mark.parametrize(
    ("accept", "told"),
    [
        (None, "application/ld+json"),
        ("*/*", "application/ld+json"),
        ("application/json", "application/json"),
        ("application/ld+json;q=0.2, application/json;q=0.4", "application/json"),
        ("text/html, application/*;q=0.1", "application/ld+json"),
    ],
)
def test_events_come_in_what_is_welcome(site, accept, told):
    response = site.client.get("/events", headers={"Accept": accept} if accept else {})
    assert (response.status_code, response.content_type) == (200, told)


@pytest.mark.parametrize("path", ["/events", "/queries", "/bizSteps", "/capture"])
@pytest.mark.parametrize(
    "accept", ["application/cbor", "text/html;q=0.9", "application/json;q=0", "a/b, c/d"]
)
def test_what_is_not_spoken_here_is_not_acceptable(site, path, accept):
    response = site.client.get(path, headers={"Accept": accept})
    assert response.status_code == 406
    assert response.json["type"] == "epcisException:NotAcceptableException"
    assert response.json["code"] == "epcis.accept"
