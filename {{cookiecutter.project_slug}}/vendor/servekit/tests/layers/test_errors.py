import asyncio
import json
import logging

import pytest
from starlette.requests import ClientDisconnect
from structlog.testing import capture_logs

from servekit.hang_up import HUNG_UP
from servekit.layers.errors import ErrorsMiddleware
from servekit.logs import not_yet_logged
from servekit.scope import REQUEST_ID_KEY
from tests.asgi import answers, call, foreign, http_scope, passed


class DownError(Exception):
    pass


def raising(error: BaseException, *, after: str = ""):
    async def app(scope, receive, send):
        if after:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            more = after == "part"
            await send({"type": "http.response.body", "body": b"x", "more_body": more})
        raise error

    return app


async def test_an_exception_becomes_one_record_and_a_problem_that_says_nothing():
    error = ValueError("secret")
    messages = []

    async def send(message):
        messages.append(message)

    app = ErrorsMiddleware(raising(error))
    with capture_logs() as lines, pytest.raises(ValueError, match="secret"):
        await app(http_scope(**{REQUEST_ID_KEY: "r1"}), None, send)  # type: ignore[arg-type] # never received from
    assert messages[0]["status"] == 500
    assert json.loads(messages[1]["body"])["request_id"] == "r1"
    assert b"secret" not in messages[1]["body"]
    assert [(line["event"], line["exc_info"]) for line in lines] == [("unhandled_exception", error)]


async def test_a_cut_answer_goes_on_to_the_server_so_that_it_closes_without_a_second_record():
    error = ValueError("half way")
    with capture_logs() as lines, pytest.raises(ValueError, match="half way"):
        await call(ErrorsMiddleware(raising(error, after="part")))
    assert len(lines) == 1
    record = logging.LogRecord(
        "uvicorn.error", 40, "", 0, "", None, (ValueError, error, error.__traceback__)
    )
    assert not not_yet_logged(record)


@pytest.mark.parametrize("after", ["", "part", "all"])
async def test_an_exception_goes_on_as_with_fastapi_to_whoever_reports_it(after):
    sent = []

    async def send(message):
        sent.append(message["type"])

    app = ErrorsMiddleware(raising(ValueError("seen"), after=after))
    with capture_logs() as lines, pytest.raises(ValueError, match="seen"):
        await app(http_scope(), None, send)  # type: ignore[arg-type] # never received from
    assert sent == ["http.response.start", "http.response.body"]
    assert len(lines) == 1


async def test_known_exceptions_have_their_own_status_and_no_trace_in_the_log():
    app = ErrorsMiddleware(raising(DownError("redis://secret")), statuses={DownError: 503})
    with capture_logs() as lines:
        answer = await call(app)
    assert answer.status == 503
    assert answer.headers[b"retry-after"] in {b"1", b"2", b"3"}
    [line] = lines
    assert (line["event"], line["log_level"]) == ("request_failed", "warning")
    assert "exc_info" not in line


async def test_a_cancelled_request_is_told_and_stays_cancelled():
    sent = []

    async def send(message):
        sent.append(message)

    app = ErrorsMiddleware(raising(asyncio.CancelledError()))
    with capture_logs() as lines, pytest.raises(asyncio.CancelledError):
        await app({"type": "http"}, None, send)  # type: ignore[arg-type] # never received from
    assert sent[0]["status"] == 503
    [line] = lines
    assert line["event"] == "request_cancelled"
    assert "test" in line["at"]


async def test_a_client_that_left_is_no_error():
    with capture_logs() as lines:
        await ErrorsMiddleware(raising(ClientDisconnect()))({"type": "http"}, None, None)  # type: ignore[arg-type] # neither is called
    assert lines == []


async def test_a_read_that_ended_with_its_client_is_told_to_nobody():
    error = asyncio.CancelledError(HUNG_UP)
    with capture_logs() as lines, pytest.raises(asyncio.CancelledError):
        await ErrorsMiddleware(raising(error))({"type": "http"}, None, None)  # type: ignore[arg-type] # neither is called
    assert lines == []
    record = logging.LogRecord(
        "uvicorn.error", 40, "", 0, "", None, (asyncio.CancelledError, error, None)
    )
    assert not not_yet_logged(record)


async def test_answers_and_other_scopes_pass():
    assert (await call(ErrorsMiddleware(answers(418)))).status == 418
    assert await passed(ErrorsMiddleware(foreign), {"type": "websocket"})
