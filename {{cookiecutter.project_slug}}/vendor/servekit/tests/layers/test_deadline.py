import asyncio
import time
from typing import Annotated, Any

import httpx2
import pytest
from fastapi import Depends, FastAPI
from fastapi.responses import StreamingResponse
from structlog.testing import capture_logs

from servekit.hang_up import HUNG_UP
from servekit.layers.deadline import DeadlineMiddleware, deadline
from servekit.resilience.deadlines import remaining
from servekit.scope import REQUEST_ID_KEY
from servekit.testing import patience
from tests.asgi import answers, call, foreign, http_scope, passed

SOON = {"seconds": 0.02, "resolution_seconds": 0.005}


async def test_a_handler_that_takes_too_long_is_cancelled_and_answered_with_504():
    cancelled = []

    async def slow(scope, receive, send):
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    app = DeadlineMiddleware(slow, **SOON)
    with capture_logs() as lines:
        answer = await call(app, **{REQUEST_ID_KEY: "r1"})
    assert answer.status == 504
    assert answer.headers[b"content-type"] == b"application/problem+json"
    assert cancelled == [True]
    assert [(line["event"], line["request_id"]) for line in lines] == [
        ("request_deadline_exceeded", "r1")
    ]
    assert not app.watch.running


async def test_a_handler_that_swallows_its_cancellation_gives_no_second_answer():
    answered = []

    async def stubborn(scope, receive, send):
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            answered.append(len(messages))
        await asyncio.sleep(0.02)
        answered.append(len(messages))
        await answers(200)(scope, receive, send)

    messages: list[Any] = []

    async def send(message):
        messages.append(message)

    await DeadlineMiddleware(stubborn, **SOON)(http_scope(), None, send)  # type: ignore[arg-type] # never received from
    assert [m["status"] for m in messages if "status" in m] == [504]
    assert len(messages) == 2
    assert answered[1] == 2, "the 504 does not wait for a handler that will not end"


async def test_what_outlives_a_late_request_has_its_own_limits_again():
    left = []

    async def tidy():
        await asyncio.sleep(0.05)
        return remaining(7)

    async def handler(scope, receive, send):
        left.append(asyncio.get_running_loop().create_task(tidy()))
        await asyncio.sleep(60)

    app = DeadlineMiddleware(handler, **SOON)
    assert (await call(app)).status == 504
    assert await left[0] == 7


async def test_the_504_does_not_wait_for_a_thread():
    app = FastAPI()

    @app.get("/")
    def blocking() -> str:
        time.sleep(1)
        return "late"

    messages = []

    async def send(message):
        messages.append((time.monotonic(), message))

    began = time.monotonic()
    await DeadlineMiddleware(app, **SOON)(http_scope(), None, send)  # type: ignore[arg-type] # never received from
    assert messages[0][0] - began < 0.7
    assert [m["status"] for _, m in messages if "status" in m] == [504]


async def test_an_answer_that_began_may_take_its_time():
    async def stream(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.sleep(0.05)
        assert not app.watch.running
        assert remaining(7) == 7
        await send({"type": "http.response.body", "body": b"x"})

    app = DeadlineMiddleware(stream, **SOON)
    assert (await call(app)).body == b"x"


async def test_a_stream_of_fastapi_may_take_its_time_too():
    app = FastAPI()

    @app.get("/")
    async def stream() -> StreamingResponse:
        async def pieces():
            for _ in range(3):
                await asyncio.sleep(0.02)
                yield b"x"

        return StreamingResponse(pieces())

    assert (await call(DeadlineMiddleware(app, **SOON))).body == b"xxx"


async def test_a_cancellation_from_outside_stays_one():
    async def slow(scope, receive, send):
        await asyncio.sleep(10)

    app = DeadlineMiddleware(slow, seconds=10)
    task = asyncio.create_task(call(app))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not app.watch.running


async def test_zero_is_off_and_a_route_may_set_its_own_time():
    app = FastAPI()

    @app.get("/short", dependencies=[Depends(deadline(0.02))])
    async def short() -> str:
        await asyncio.sleep(10)
        return "never"

    @app.get("/left")
    async def left(own: Annotated[None, Depends(deadline(20))]) -> float:
        return remaining(60)

    @app.get("/off")
    async def off() -> float:
        return remaining(60)

    stack = DeadlineMiddleware(app, seconds=0, resolution_seconds=0.005)
    transport = httpx2.ASGITransport(app=stack)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        assert (await client.get("/short")).status_code == 504
        assert 19 < (await client.get("/left")).json() <= 20
        assert (await client.get("/off")).json() == 60


async def test_the_timer_rests_when_nothing_waits():
    app = DeadlineMiddleware(answers(), seconds=10, resolution_seconds=0.005)
    await call(app)
    await asyncio.sleep(0.02)
    assert app.watch.loop is None


async def test_an_error_of_a_cancelled_handler_is_not_hidden():
    async def clumsy(scope, receive, send):
        try:
            await asyncio.sleep(10)
        finally:
            raise ValueError("clean-up failed")

    messages = []

    async def send(message):
        messages.append(message)

    with pytest.raises(ValueError, match="clean-up"):
        await DeadlineMiddleware(clumsy, **SOON)(http_scope(), None, send)  # type: ignore[arg-type] # never received from
    assert messages[0]["status"] == 504


async def test_other_scopes_pass():
    assert await passed(DeadlineMiddleware(foreign), {"type": "websocket"})


@pytest.mark.parametrize("end", ["raises", "hangs up"])
async def test_a_task_that_a_request_began_has_limits_of_its_own_however_that_ended(end):
    jobs = []

    async def job():
        await asyncio.sleep(0.3)
        return remaining(5)

    async def app(_scope, _receive, _send):
        jobs.append(asyncio.create_task(job()))
        if end == "raises":
            raise ZeroDivisionError
        await asyncio.sleep(9)

    layer = DeadlineMiddleware(app, seconds=0.2)
    request = asyncio.create_task(layer(http_scope(), None, None))  # type: ignore[arg-type] # unused
    if end == "hangs up":
        await asyncio.sleep(0.05)
        request.cancel(HUNG_UP)
    await asyncio.gather(request, return_exceptions=True)
    assert await jobs[0] == 5


async def test_a_request_that_ends_already_is_not_ended_again():
    tidied = []

    async def app(_scope, _receive, _send):
        try:
            await asyncio.sleep(9)
        finally:
            await asyncio.sleep(0.3)  # past the deadline
            tidied.append(True)

    sent = []

    async def send(message):
        sent.append(message)

    layer = DeadlineMiddleware(app, seconds=0.2)
    request = asyncio.create_task(layer(http_scope(), None, send))  # type: ignore[arg-type] # unused
    await asyncio.sleep(0.1)
    request.cancel(HUNG_UP)
    with pytest.raises(asyncio.CancelledError):
        await request
    assert tidied
    assert not sent


async def test_an_error_with_one_late_request_leaves_none_without_its_504(monkeypatch):
    def fail(*_: object, **__: object) -> None:
        monkeypatch.undo()
        raise ZeroDivisionError

    monkeypatch.setattr("servekit.layers.deadline.log.warning", fail)
    errors: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))

    async def slow(_scope, _receive, _send):
        await asyncio.sleep(10)

    app = DeadlineMiddleware(slow, **SOON)
    async with asyncio.timeout(patience(5)):
        answers = await asyncio.gather(*(call(app) for _ in range(3)))
        answers.append(await call(app))
    assert [answer.status for answer in answers] == [504] * 4
    assert [type(error["exception"]) for error in errors] == [ZeroDivisionError]
