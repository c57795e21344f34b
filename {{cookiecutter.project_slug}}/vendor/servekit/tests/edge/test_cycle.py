"""Whatever an application sends, the wire gets one whole answer, or a cut one and a record."""

import asyncio
import logging
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from structlog.testing import capture_logs

from servekit.edge.cycle import CheckedCycle
from servekit.edge.head import JOINED_BYTES
from servekit.layers.errors import ErrorsMiddleware
from servekit.logs import not_yet_logged
from servekit.scope import WholeStart
from tests.edge.wire import CYCLES, Client, read_answer

pytestmark = pytest.mark.parametrize("cycle", CYCLES.values(), ids=CYCLES)

STATUSES = st.sampled_from([200, 201, 204, 205, 304, 404, 500, 599, 299])
ODD_STATUSES = st.sampled_from([999, 600, 100, 101, 103, 0, -1, "200", None, 200.5])
FIELDS = st.sampled_from(
    [
        (b"content-length", b"3"),
        (b"Content-Length", b"0"),
        (b"transfer-encoding", b"chunked"),
        (b"connection", b"close"),
        (b"connection", b"keep-alive"),
        (b"x-name", b"a value"),
        (b"X-Name", "ä".encode()),
        [b"x-list", b"a"],
    ]
)
ODD_FIELDS = st.sampled_from(
    [
        (b"content-length", b"-1"),
        (b"content-length", b"3, 3"),
        (b"content-length", b"x"),
        (b"content-length", b""),
        (b"transfer-encoding", b"gzip"),
        (b"transfer-encoding", b"gzip, chunked"),
        (b"x-name", b"a\r\nset-cookie: b"),
        (b"x-name", b"a\nb"),
        (b"x name", b"a"),
        (b"", b"a"),
        ("text", "a"),
        (b"x-name", None),
        (b"x-name",),
        None,
    ]
)
STARTS = st.fixed_dictionaries(
    {
        "type": st.just("http.response.start"),
        "status": STATUSES | ODD_STATUSES,
    },
    optional={"headers": st.lists(FIELDS, max_size=4) | st.lists(FIELDS | ODD_FIELDS, max_size=4)},
)
BODIES = st.fixed_dictionaries(
    {"type": st.just("http.response.body")},
    optional={
        "body": st.sampled_from([b"", b"abc", b"a", b"0\r\n\r\n", "text", None]),
        "more_body": st.booleans(),
    },
)
ODD_MESSAGES = st.sampled_from(
    [
        {"type": "http.response.trailers", "headers": []},
        {"type": "websocket.accept"},
        {"type": "http.response.start"},
    ]
)
ENDS = st.none() | st.sampled_from([ValueError, SystemExit, KeyError]).map(lambda kind: kind("x"))
ANSWERS = st.tuples(STARTS, st.lists(BODIES, max_size=3)).map(lambda both: [both[0], *both[1]])
MESSAGES = ANSWERS | st.lists(STARTS | BODIES | ODD_MESSAGES, max_size=4)


class Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[Any] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


async def asked(cycle, app, method="GET", version="1.1"):
    """Return what came over the wire, whether it was closed, and what was logged."""
    client, records = Client(app, cycle), Records()
    logger = logging.getLogger("uvicorn.error")
    logger.addHandler(records)
    try:
        with capture_logs() as lines:
            request = f"{method} / HTTP/{version}\r\nHost: a\r\n\r\n"
            data = await client.ask(request.encode())
    finally:
        logger.removeHandler(records)
    return data, client.wire.closed, [*filter(not_yet_logged, records.records), *lines]


def sending(messages, end=None):
    async def app(scope, receive, send):
        for message in messages:
            await send(dict(message))
        if end is not None:
            raise end

    return app


@pytest.mark.parametrize("layered", [True, False], ids=["layered", "bare"])
@settings(
    deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(messages=MESSAGES, end=ENDS, method=st.sampled_from(["GET", "HEAD", "POST"]))
async def test_any_messages_give_one_answer_or_a_cut_one_and_a_record(
    cycle, layered, messages, end, method
):
    app = sending(messages, end)
    data, closed, logged = await asked(cycle, ErrorsMiddleware(app) if layered else app, method)

    assert data, "no answer at all"
    head, _, whole = read_answer(method, data, closed=closed)
    if not whole:
        assert closed
        assert logged
    if head.status_code == 500 and messages and messages[0].get("status") != 500:
        assert logged


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("fields", [[], [(b"content-length", b"3")]], ids=["", "with a length"])
async def test_a_status_without_a_body_is_sent_without_the_given_one(cycle, status, fields):
    start = {"type": "http.response.start", "status": status, "headers": fields}
    body = {"type": "http.response.body", "body": b"abc"}
    data, closed, logged = await asked(cycle, sending([start, body]))

    head, content, whole = read_answer("GET", data, closed=closed)
    assert (head.status_code, content, whole, closed, logged) == (status, b"", True, False, [])


@pytest.mark.parametrize(
    ("status", "field"),
    [
        (999, (b"x", b"a")),
        (200, (b"x-name", b"a\r\nb")),
        (200, (b"content-length", b"-3")),
        (101, (b"x", b"a")),
    ],
)
async def test_a_head_that_http_does_not_allow_is_answered_500_with_one_record(
    cycle, status, field
):
    start = {"type": "http.response.start", "status": status, "headers": [field]}
    app = ErrorsMiddleware(sending([start, {"type": "http.response.body", "body": b"abc"}]))
    data, closed, logged = await asked(cycle, app)

    head, content, whole = read_answer("GET", data, closed=closed)
    assert (head.status_code, whole, closed) == (500, True, cycle is CheckedCycle)
    assert b'"status":500' in content
    assert [line["event"] for line in logged] == ["unhandled_exception"]


@pytest.mark.parametrize("layered", [True, False], ids=["layered", "bare"])
async def test_an_error_after_a_whole_answer_closes_nothing_if_it_was_logged(cycle, layered):
    start = {"type": "http.response.start", "status": 200, "headers": []}
    app = sending([start, {"type": "http.response.body", "body": b"abc"}], ValueError())
    data, closed, logged = await asked(cycle, ErrorsMiddleware(app) if layered else app)
    assert read_answer("GET", data, closed=closed)[1:] == (b"abc", True)
    assert closed == (cycle is CheckedCycle or not layered)
    assert len(logged) == 1


async def test_a_refused_head_is_not_the_answer_so_another_may_follow(cycle):
    async def app(scope, receive, send):
        start = {"type": "http.response.start", "status": 200}
        try:
            await send(start | {"headers": [(b"x", b"a\nb")]})
        except RuntimeError:
            await send(start | {"headers": [(b"x", b"ab")]})
        await send({"type": "http.response.body", "body": b"abc"})

    data, closed, _ = await asked(cycle, app)
    assert read_answer("GET", data, closed=closed)[1:] == (b"abc", True)


@pytest.mark.parametrize("fields", [[], [(b"content-length", b"3")]], ids=["", "with a length"])
async def test_a_head_does_not_wait_for_the_first_piece(cycle, fields):
    written = []

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await asyncio.sleep(0)
        written.append(bytes(client.wire.written))
        await send({"type": "http.response.body", "body": b"abc"})

    client = Client(app, cycle)
    await client.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert written[0].endswith(b"\r\n\r\n")


@pytest.mark.parametrize("kind", [dict, WholeStart])
@pytest.mark.parametrize("end", ["the body", "an error", "nothing more"])
async def test_a_head_is_written_once_whatever_follows(cycle, end, kind):
    async def app(scope, receive, send):
        fields = [(b"content-length", b"3")]
        await send(kind(type="http.response.start", status=200, headers=fields))
        if end == "an error":
            raise ValueError
        if end == "the body":
            await send({"type": "http.response.body", "body": b"abc"})

    data, _, _ = await asked(cycle, app)
    assert data.count(b"HTTP/1.1 200") == 1
    assert data.endswith(b"abc" if end == "the body" else b"\r\n\r\n")


@pytest.mark.parametrize("kind", [dict, WholeStart])
@pytest.mark.parametrize(("length", "writes"), [(3, 1), (JOINED_BYTES, 1), (JOINED_BYTES + 1, 2)])
async def test_a_head_leaves_in_one_piece_with_a_body_that_follows_at_once(
    cycle, kind, length, writes
):
    if cycle is not CYCLES["ours"]:
        return
    fields = [(b"content-length", b"%d" % length)]
    start = kind(type="http.response.start", status=200, headers=fields)

    async def app(scope, receive, send):
        await send(start)
        await send({"type": "http.response.body", "body": b"a" * length})

    client = Client(app, cycle)
    data = await client.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert len(read_answer("GET", data, closed=False)[1]) == length
    assert client.wire.writes == writes


async def test_a_client_that_knows_no_chunks_gets_none(cycle):
    pieces = [{"type": "http.response.body", "body": b"abc", "more_body": more} for more in (1, 0)]
    start = {"type": "http.response.start", "status": 200, "headers": []}
    data, closed, _ = await asked(cycle, sending([start, *pieces]), version="1.0")

    if cycle is CYCLES["ours"]:
        assert data.endswith(b"\r\n\r\nabcabc")
        assert closed


@pytest.mark.parametrize("before", [[], [(b"x-a", b"1")]], ids=["first", "later"])
@pytest.mark.parametrize("name", [b"date", b"Date"])
async def test_an_answer_that_has_a_date_gets_no_second_one(cycle, before, name):
    for own in ([], [(name, b"then")]):
        start = {"type": "http.response.start", "status": 200, "headers": [*before, *own, *before]}
        app = sending([start, {"type": "http.response.body", "body": b"abc"}])
        client = Client(app, cycle)
        client.state.default_headers.append((b"date", b"now"))
        data = await client.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")

        head, _, whole = read_answer("GET", data, closed=client.wire.closed)
        assert whole
        assert [value for field, value in head.headers if field == b"date"] == [
            b"then" if own else b"now"
        ]


@pytest.mark.parametrize("when", [0, 1, 2])
async def test_an_answer_to_a_client_that_has_just_gone_is_dropped_without_a_record(
    cycle, when, caplog
):
    client: Any = None

    async def app(_scope, _receive, send):
        for number, message in enumerate(
            (
                {"type": "http.response.start", "status": 200, "headers": []},
                {"type": "http.response.body", "body": b"a", "more_body": True},
                {"type": "http.response.body", "body": b"b"},
            )
        ):
            if number == when:
                client.wire.close()  # the connection is told in a later turn of the loop
            await send(message)

    client = Client(app, cycle)
    answer = await client.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200") == (when > 0)
    assert not caplog.records
