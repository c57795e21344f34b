"""What cannot be kept reaches the client who had it run, as without a cache, and runs once."""

import asyncio
from typing import Annotated, Any

import pytest
from fastapi import BackgroundTasks, Depends, FastAPI
from fastapi.responses import Response, StreamingResponse
from structlog.testing import capture_logs

from servekit.cache.cache import Cache
from servekit.response_cache.layer import ResponseCacheMiddleware, cache_response
from servekit.testing import patience
from tests.asgi import http_scope, routes_of
from tests.redis.patient import patient_clients
from tests.response_cache.origin import until

LIMIT = 1000


class Shop:
    """A route with a dependency and a background task, and what was said of a run."""

    def __init__(self, answer: Any, *, kept: bool = True) -> None:
        self.said: list[str] = []
        self.goes_on = asyncio.Event()
        app = self.app = FastAPI()

        async def session():
            self.said.append("open")
            try:
                yield
            except BaseException as error:
                self.said.append(type(error).__name__)
                raise
            finally:
                self.said.append("close")

        needs: list[Any] = [Depends(cache_response(ttl_seconds=60))] if kept else []

        @app.get("/", dependencies=needs)
        async def page(background: BackgroundTasks, _: Annotated[None, Depends(session)]) -> Any:
            self.said.append("run")
            background.add_task(self.said.append, "background")
            made = answer(self)
            made.background = background
            return made


async def large(shop):
    for _ in range(4):
        yield b"x" * 400
    await shop.goes_on.wait()
    yield b"the end"


async def events(shop):
    yield b"data: 1\n\n"
    await shop.goes_on.wait()
    yield b"data: 2\n\n"


ANSWERS = {
    "a large body": lambda _: Response(b"x" * 5000),
    "a large stream": lambda shop: StreamingResponse(large(shop)),
    "an event stream": lambda shop: StreamingResponse(events(shop), media_type="text/event-stream"),
    "less than announced": lambda _: Response(b"x" * 100, headers={"content-length": "200"}),
    "more than announced": lambda _: Response(b"x" * 100, headers={"content-length": "9"}),
}


class Visit:
    """One request; `first` is set when a piece of the body has come."""

    def __init__(self, app: Any, method: str = "GET") -> None:
        self.messages: list[Any] = []
        self.first = asyncio.Event()
        self.task = asyncio.create_task(app(http_scope("/", method), self.receive, self.send))

    async def receive(self) -> Any:
        await asyncio.Event().wait()

    async def send(self, message: Any) -> None:
        self.messages.append(message)
        if message.get("body"):
            self.first.set()

    def told(self) -> Any:
        """Return status, fields of the route, and body; the cache says of itself that it ran."""
        [start, *pieces] = self.messages
        fields = dict(start["headers"])
        assert fields.pop(b"cache-status", b"service; fwd=uri-miss") == b"service; fwd=uri-miss"
        body = b"".join(piece["body"] for piece in pieces)
        assert [piece.get("more_body", False) for piece in pieces][-1] is False
        return start["status"], fields, body


@pytest.fixture
async def cached(redis_url):
    async with patient_clients(redis_url) as clients, Cache(clients) as cache:

        def wrap(app):
            return ResponseCacheMiddleware(
                app, cache=cache, routes=routes_of(app), limit_bytes=LIMIT
            )

        yield wrap


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
async def test_it_is_as_without_a_cache_and_runs_once_for_each(cached, answer):
    plain, shop = Shop(answer, kept=False), Shop(answer)
    app = cached(shop.app)
    for one in (plain, shop):
        one.goes_on.set()
    with capture_logs() as logs:
        for _ in range(2):
            visits = [Visit(plain.app), Visit(app)]
            async with asyncio.timeout(patience(10)):
                await asyncio.gather(*(visit.task for visit in visits))
            assert visits[0].told() == visits[1].told()
    assert shop.said == plain.said
    [line] = [line for line in logs if line["event"] == "response_not_cached"]
    assert line["remedy"]


@pytest.mark.parametrize("name", ["a large stream", "an event stream"])
async def test_its_pieces_do_not_wait_for_its_end(cached, name):
    shop = Shop(ANSWERS[name])
    visit = Visit(cached(shop.app))
    async with asyncio.timeout(patience(10)):
        await visit.first.wait()
        assert not visit.task.done()
        shop.goes_on.set()
        await visit.task
    assert shop.said.count("run") == 1


async def test_all_who_waited_get_an_answer_of_their_own(cached):
    shop = Shop(ANSWERS["a large stream"])
    shop.goes_on.set()
    app = cached(shop.app)
    visits = [Visit(app) for _ in range(3)]
    async with asyncio.timeout(patience(20)):
        await asyncio.gather(*(visit.task for visit in visits))
    assert {len(visit.told()[2]) for visit in visits} == {1607}
    assert shop.said.count("run") == shop.said.count("background") == 3


async def test_a_run_ends_with_the_client_who_had_it_run(cached):
    shop = Shop(ANSWERS["an event stream"])
    visit = Visit(cached(shop.app))
    async with asyncio.timeout(patience(10)):
        await visit.first.wait()
    visit.task.cancel()
    await asyncio.wait([visit.task])

    async def closed():
        return "close" in shop.said

    await until(closed)
    assert "background" not in shop.said
