"""The engine is held to the specification: what it finds is what `matches` finds, in order, page by page."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tt_epcis import aggregation, object_event, shared_events
from tt_projection import START, Asked, PaperLog, anyone, recorded
from tt_queries import FULL, questions

from projection import engine as engine_module
from projection import segments
from projection.statements import microseconds
from traceability.epcis.formats import parse_time
from traceability.errors import QueryRejected, QueryTokenFault, QueryTooComplex, QueryTooLarge
from traceability.queries.matches import matches
from traceability.queries.parameters import parse_url

EPCS = [f"urn:epc:id:sgtin:9521141.012345.{n}" for n in range(6)] + ["urn:epc:id:sgtin:9521141.012346.1"]
STEPS = ["shipping", "receiving", "commissioning", "https://own.example/step"]
TIMES = [f"2026-11-{day:02}T08:15:00Z" for day in (3, 5, 5, 7, 9)]
PLACES = [f"urn:epc:id:sgln:9521141.0001{n}.0" for n in range(3)]

events = st.builds(
    lambda epcs, step, time, place, line: object_event(
        *epcs,
        bizStep=step,
        eventTime=time,
        readPoint={"id": place},
        **({} if line is None else {"ex:line": line}),
    ),
    st.lists(st.sampled_from(EPCS), min_size=1, max_size=3, unique=True),
    st.sampled_from(STEPS),
    st.sampled_from(TIMES),
    st.sampled_from(PLACES),
    st.sampled_from([None, "1", 2, "ten", "2026-11-05T08:15:00Z"]),
)
filters = st.lists(
    st.sampled_from(
        [
            "EQ_bizStep=shipping",
            "EQ_bizStep=receiving|https://own.example/step",
            f"EQ_readPoint={PLACES[0]}|{PLACES[1]}",
            f"WD_bizLocation={PLACES[0]}",
            f"MATCH_epc={EPCS[0]}",
            f"MATCH_anyEPC={EPCS[1]}|{EPCS[2]}",
            "MATCH_epc=urn:epc:idpat:sgtin:9521141.012345.*",
            "MATCH_anyEPC=urn:epc:idpat:sgtin:9521141.*.*",
            f"MATCH_anyEPC={EPCS[0]}|urn:epc:idpat:sgtin:9521141.012346.*",
            "GE_eventTime=2026-11-05T08:15:00Z",
            "LT_eventTime=2026-11-07T08:15:00Z",
            "GE_recordTime=2026-11-20T12:00:05Z",
            "LT_recordTime=2026-11-20T12:00:11Z",
            "GE_ex:line=2",
            "EXISTS_ex:line=true",
            "EQ_ex:line=2",
        ]
    ),
    max_size=3,
    unique_by=lambda one: one.partition("=")[0],
)
orders = st.sampled_from(
    ["", "orderBy=recordTime", "orderBy=eventTime", "orderBy=eventTime&orderDirection=ASC", "orderBy=ex:line"]
)


def ask_all(engine, text: str, may_read=anyone) -> list[tuple[int, int]]:
    """The places of the whole answer, page by page."""
    query = parse_url(text)
    page = engine.search(query, may_read)
    found = list(page.events)
    while page.next_token is not None:
        assert len(page.events) == query.per_page
        page = engine.search(replace(query, next_page_token=page.next_token), may_read)
        assert page.events
        found += page.events
    return [(one.seq, one.ordinal) for one in found]


def specified(log_events, text: str) -> list[tuple[int, int]]:
    """The same by the specification: every event asked, then sorted."""
    query = parse_url(text)
    found = [n for n, event in enumerate(log_events) if matches(query, event, recorded(n))]
    if query.order.field == "eventTime":
        found.sort(key=lambda n: (microseconds(parse_time(log_events[n]["eventTime"])), n))
    if query.order.descending and not query.order.by_extension:
        found.reverse()
    return [(n, 0) for n in found]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(events, min_size=1, max_size=24),
    st.lists(st.tuples(filters, orders, st.integers(1, 7)), min_size=1, max_size=6),
    st.integers(1, 9),
)
def test_the_index_finds_what_the_specification_finds(tmp_path_factory, log_events, asked, batch):
    with pytest.MonkeyPatch.context() as patch:
        # Small segments, so that an answer comes from many of them, merged and not.
        patch.setattr("projection.projector.BATCH_ENTRIES", batch)
        patch.setattr("projection.projector.READ_ENTRIES", 2)
        patch.setattr(segments, "BUCKET_SIZE", 64)
        patch.setattr(segments, "BITMAP_ABOVE", 3)
        patch.setattr(engine_module, "PLACES_DIRECT_MAX", batch % 3)
        ready = Asked(tmp_path_factory.mktemp("law"), PaperLog(log_events))
        try:
            ready.projector().catch_up()
            engine = ready.engine()
            for parts, order, per_page in asked:
                text = "&".join([*parts, *([order] if order else []), f"perPage={per_page}"])
                got, wanted = ask_all(engine, text), specified(log_events, text)
                if "orderBy=ex:line" in text:
                    got, wanted = sorted(got), sorted(wanted)
                assert got == wanted, text
        finally:
            ready.close()


@pytest.fixture(scope="module")
def journey(tmp_path_factory):
    """Sixty events of ten things, with their projection."""
    log = PaperLog(
        object_event(
            EPCS[n % 5],
            bizStep=STEPS[n % 3],
            eventTime=f"2026-11-{1 + (n * 7) % 27:02}T08:15:00Z",
            **{"ex:n": n if n % 4 else None},
        )
        for n in range(60)
    )
    ready = Asked(tmp_path_factory.mktemp("journey"), log)
    ready.projector().catch_up()
    yield ready
    ready.close()


def test_official_examples_are_found_by_every_question_made_of_them(shared, tmp_path):
    found = [event for _, event in shared_events(shared, "gs1-examples", "openepcis/documents")]
    ready = Asked(tmp_path, PaperLog([*found, FULL]))
    try:
        ready.projector().catch_up()
        engine = ready.engine()
        asked = sorted({question for event in ready_sample(found) for question in questions(event)})
        for question in asked:
            try:
                query = parse_url(f"{question}&perPage=1000")
            except QueryRejected:
                continue
            got = [one.seq for one in engine.search(query, anyone).events]
            assert got == [
                n for n, event in enumerate([*found, FULL]) if matches(query, event, recorded(n))
            ], question
    finally:
        ready.close()


def ready_sample(found):
    """One event in four: each of them has dozens of questions."""
    return [*found[::4], FULL]


def test_by_eventtime_the_newest_come_first_unless_asked_otherwise(journey):
    engine = journey.engine()
    newest = engine.search(parse_url("orderBy=eventTime"), anyone).events
    times = [one.event["eventTime"] for one in newest]
    assert times == sorted(times, reverse=True)
    oldest = engine.search(parse_url("orderBy=eventTime&orderDirection=ASC"), anyone).events
    assert [one.event["eventTime"] for one in oldest] == sorted(one.event["eventTime"] for one in oldest)


def test_by_a_field_of_an_extension_events_without_it_come_last(journey):
    engine = journey.engine()
    page = engine.search(parse_url("orderBy=ex:n&orderDirection=ASC&perPage=60"), anyone)
    values = [one.event.get("ex:n") for one in page.events]
    having = [n for n in range(60) if n % 4]
    assert values == having + [None] * 15
    assert ask_all(engine, "orderBy=ex:n&orderDirection=ASC&perPage=7") == [
        (one.seq, 0) for one in page.events
    ]


def test_pages_stay_right_while_events_arrive(tmp_path):
    for order in ("", "&orderBy=recordTime", "&orderBy=eventTime", "&orderBy=eventTime&orderDirection=ASC"):
        log = PaperLog(object_event(EPCS[0], eventTime=f"2026-11-{1 + n:02}T08:15:00Z") for n in range(12))
        folder = tmp_path / f"case{len(order)}{order[-3:]}"
        folder.mkdir()
        ready = Asked(folder, log)
        projector = ready.projector()
        projector.catch_up()
        engine = ready.engine()
        for question in (f"perPage=5{order}", f"MATCH_epc={EPCS[0]}&perPage=5{order}"):
            query = parse_url(question)
            page = engine.search(query, anyone)
            seen = [one.seq for one in page.events]
            bound = page.covered
            while page.next_token is not None:
                # Older and newer than all that is there: neither may show, or push anything out.
                # So many that they are merged with what the first page looked at.
                for day in ("2026-01-01", "2026-11-19") * 8:
                    log.append(object_event(EPCS[0], eventTime=f"{day}T00:00:00Z"))
                projector.catch_up()
                page = engine.search(replace(query, next_page_token=page.next_token), anyone)
                seen += [one.seq for one in page.events]
                assert page.covered == bound
                assert len(seen) <= bound
            assert sorted(seen) == list(range(bound)), question
            assert len(set(seen)) == len(seen)
        ready.close()


def test_a_limit_cuts_the_answer_and_goes_on_over_pages(journey):
    engine = journey.engine()
    whole = ask_all(engine, "orderBy=eventTime&perPage=1000")
    for limit in (1, 6, 7, 8, 59, 60, 61):
        found = ask_all(engine, f"orderBy=eventTime&eventCountLimit={limit}&perPage=1000")
        assert found == whole[:limit]
    paged = parse_url("orderBy=eventTime&eventCountLimit=8&perPage=5")
    first = engine.search(paged, anyone)
    second = engine.search(replace(paged, next_page_token=first.next_token), anyone)
    assert [len(first.events), len(second.events), second.next_token] == [5, 3, None]


def test_more_than_the_caller_would_take_is_refused(journey):
    engine = journey.engine()
    assert len(ask_all(engine, "maxEventCount=60&perPage=7")) == 60
    assert len(ask_all(engine, "maxEventCount=60&perPage=60")) == 60
    for per_page in (7, 59, 60, 1000):
        with pytest.raises(QueryTooLarge):
            engine.search(parse_url(f"maxEventCount=59&perPage={per_page}"), anyone)
    with pytest.raises(QueryTooLarge):
        engine.search(parse_url(f"MATCH_epc={EPCS[0]}&maxEventCount=3"), anyone)


def test_what_may_not_be_read_is_neither_shown_nor_counted(journey):
    engine = journey.engine()
    page = engine.search(parse_url("maxEventCount=1&perPage=1"), lambda typ: False)
    assert (page.events, page.next_token) == ((), None)
    page = engine.search(parse_url(f"MATCH_epc={EPCS[0]}"), lambda typ: False)
    assert (page.events, page.next_token) == ((), None)


def test_an_erased_event_is_not_shown(tmp_path):
    log = PaperLog(object_event(EPCS[0], bizStep="shipping") for _ in range(5))
    ready = Asked(tmp_path, log)
    ready.projector().catch_up()
    log.erase(2)
    engine = ready.engine()
    for question in ("", "EQ_bizStep=shipping", f"MATCH_epc={EPCS[0]}"):
        assert [seq for seq, _ in ask_all(engine, f"{question}&perPage=2".lstrip("&"))] == [0, 1, 3, 4]
    ready.close()


# --- tokens --------------------------------------------------------------------------------------


def first_token(engine, text="perPage=5"):
    return engine.search(parse_url(text), anyone).next_token


def refused(engine, token, text="perPage=5") -> str:
    with pytest.raises(QueryTokenFault) as caught:
        engine.search(replace(parse_url(text), next_page_token=token), anyone)
    assert caught.value.pointer == "/nextPageToken"
    assert caught.value.fix
    return caught.value.code


def test_a_token_that_was_altered_anywhere_is_forged(journey):
    engine = journey.engine()
    token = first_token(engine)
    for place in range(len(token)):
        other = "A" if token[place] != "A" else "B"
        code = refused(engine, token[:place] + other + token[place + 1 :])
        assert code in ("query.token.forged", "query.token.malformed")
    for nonsense in ("x", token[:-1], token + "A", token + "=", token * 2, "é" * 10, "A" * 104, " " + token):
        assert refused(engine, nonsense) in ("query.token.forged", "query.token.malformed")


def test_another_servers_token_is_forged(journey, tmp_path):
    ours = journey.engine()
    other = engine_module.Engine(journey.log, ours.projection, b"another key" * 3, clock=lambda: START)
    assert refused(ours, first_token(other)) == "query.token.forged"


def test_a_token_ends(journey, monkeypatch):
    engine = journey.engine()
    token = first_token(engine)
    monkeypatch.setattr(journey, "now", START + timedelta(seconds=3599))
    engine.search(replace(parse_url("perPage=5"), next_page_token=token), anyone)
    monkeypatch.setattr(journey, "now", START + timedelta(seconds=3600))
    assert refused(engine, token) == "query.token.expired"


def test_a_token_is_of_one_query(journey):
    engine = journey.engine()
    token = first_token(engine)
    engine.search(replace(parse_url("perPage=9"), next_page_token=token), anyone)
    for other in ("EQ_action=OBSERVE", "orderBy=eventTime", "maxEventCount=1000"):
        assert refused(engine, token, other) == "query.token.other-query"


# --- bounds ---------------------------------------------------------------------------------------


def test_a_search_that_reads_too_much_is_refused_with_a_hint(journey, monkeypatch):
    monkeypatch.setattr(engine_module, "READS_MAX", 20)
    monkeypatch.setattr(engine_module, "READ_AHEAD_MAX", 4)
    engine = journey.engine()
    with pytest.raises(QueryTooComplex) as caught:
        engine.search(parse_url("GE_ex:n=1000&perPage=2"), anyone)
    assert "narrow" in caught.value.fix
    with pytest.raises(QueryTooComplex):
        engine.search(parse_url("GE_ex:n=57&maxEventCount=50"), anyone)


def test_what_was_found_before_the_bound_is_shown_and_the_rest_follows(journey, monkeypatch):
    monkeypatch.setattr(engine_module, "READS_MAX", 20)
    monkeypatch.setattr(engine_module, "READ_AHEAD_MAX", 4)
    engine = journey.engine()
    query = parse_url("LT_ex:n=4&perPage=20")
    page = engine.search(query, anyone)
    assert [one.seq for one in page.events] == [1, 2, 3]
    assert page.next_token is not None
    with pytest.raises(QueryTooComplex):
        engine.search(replace(query, next_page_token=page.next_token), anyone)


def test_a_search_that_takes_too_long_is_refused(journey, monkeypatch):
    monkeypatch.setattr(engine_module, "SEARCH_TIME_MAX_S", -1.0)
    with pytest.raises(QueryTooComplex):
        journey.engine().search(parse_url("GE_ex:n=1000"), anyone)


def test_ordering_by_an_extension_is_bounded(journey, monkeypatch):
    monkeypatch.setattr(engine_module, "ORDERED_MAX", 59)
    with pytest.raises(QueryTooComplex):
        journey.engine().search(parse_url("orderBy=ex:n"), anyone)


def test_a_thing_that_is_everywhere_is_bounded(journey, monkeypatch):
    monkeypatch.setattr(engine_module, "PLACES_MAX", 3)
    monkeypatch.setattr(engine_module, "NAMES_PAGE", 2)
    with pytest.raises(QueryTooComplex):
        journey.engine().search(parse_url(f"MATCH_epc={EPCS[0]}"), anyone)


def test_names_that_collide_are_told_apart(tmp_path):
    log = PaperLog([object_event(EPCS[0]), object_event(EPCS[1])])
    both = sorted(place for places in log.index.values() for place in places)
    for key in log.index:
        log.index[key] = both
    ready = Asked(tmp_path, log)
    ready.projector().catch_up()
    assert ask_all(ready.engine(), f"MATCH_epc={EPCS[1]}") == [(1, 0)]
    ready.close()


def test_rows_of_a_segment_are_those_that_were_put_in():
    random = np.random.default_rng(7)
    terms = [
        set(random.integers(0, 2**64, size=3, dtype=np.uint64).tolist()) | {7, n % 2} for n in range(9_000)
    ]
    built = segments.build(range(9_000), range(9_000), range(9_000), [0] * 9_000, terms)
    bits, bodies = segments.bucket_bodies(built)
    assert bits > 0
    for value, wanted in ((7, range(9_000)), (1, range(1, 9_000, 2)), (min(terms[5] - {7, 1}), [5])):
        rows = segments.Bucket(bodies[segments.bucket_of(value, bits)]).rows(value)
        assert rows is not None
        assert rows.tolist() == list(wanted)
    assert segments.Bucket(bodies[0]).rows(3) is None
    again = segments.read_segment(segments.column_bodies(built), [bodies[n] for n in sorted(bodies)])
    assert np.array_equal(again.terms, built.terms)
    assert np.array_equal(again.rows, built.rows)


def test_parents_are_found_with_their_children(tmp_path):
    pallet = "urn:epc:id:sscc:9521141.0123456789"
    ready = Asked(tmp_path, PaperLog([aggregation("ADD", pallet, *EPCS[:2]), object_event(EPCS[0])]))
    ready.projector().catch_up()
    engine = ready.engine()
    assert ask_all(engine, f"MATCH_parentID={pallet}") == [(0, 0)]
    assert ask_all(engine, "MATCH_anyEPC=urn:epc:idpat:sscc:9521141.*") == [(0, 0)]
    assert ask_all(engine, f"MATCH_epc={EPCS[0]}") == [(0, 0), (1, 0)]
    ready.close()


def test_moments_are_exact():
    moment = datetime(2026, 11, 20, 12, 0, 0, 123457, tzinfo=UTC)
    assert microseconds(moment) % 1_000_000 == 123_457
