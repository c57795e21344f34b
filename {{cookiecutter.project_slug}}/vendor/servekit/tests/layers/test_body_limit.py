import anyio
import httpx2
import pytest
from fastapi import FastAPI, Request
from pydantic import BaseModel
from starlette.middleware import Middleware

from servekit.layers.body_limit import BodyLimitMiddleware
from servekit.layers.exception_handlers import problem_handlers
from servekit.routing.routes import Routes, read_routes
from tests.asgi import foreign, passed


class Note(BaseModel):
    text: str


@pytest.fixture
def client():
    app = FastAPI(exception_handlers=problem_handlers())
    app.user_middleware = [
        Middleware(BodyLimitMiddleware, limit_bytes=100, routes=lambda: read_routes(app))
    ]

    @app.api_route("/length", methods=["GET", "POST"])
    async def length(request: Request) -> int:
        return len(await request.body())

    @app.post("/note")
    async def note(note: Note) -> int:
        return len(note.text)

    @app.post("/upload/{name}", max_body_size=1000)
    async def upload(name: str, request: Request) -> int:
        return len(await request.body())

    transport = httpx2.ASGITransport(app)
    return httpx2.AsyncClient(transport=transport, base_url="http://localhost")


async def pieces(size: int):
    for _ in range(size // 10):
        yield b"x" * 10


async def test_a_body_up_to_the_limit_passes(client):
    assert (await client.post("/length", content=b"x" * 100)).json() == 100
    assert (await client.post("/length", content=pieces(100))).json() == 100


async def test_middleware_that_reads_the_body_has_the_same_413():
    app = FastAPI()

    class Reading:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            async with anyio.create_task_group():  # what is raised comes in a group
                while (await receive()).get("more_body"):
                    pass
            await self.app(scope, receive, send)

    app.user_middleware = [
        Middleware(BodyLimitMiddleware, limit_bytes=100, routes=lambda: read_routes(app)),
        Middleware(Reading),
    ]
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        answer = await client.post("/", content=pieces(110))
    assert answer.status_code == 413
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("path", ["/length", "/note"])
async def test_a_longer_body_is_413_whether_its_length_is_announced_or_not(client, path):
    announced = await client.post(path, content=b"x" * 101)
    streamed = await client.post(path, content=pieces(110))

    for answer in (announced, streamed):
        assert answer.status_code == 413
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["connection"] == "close"


async def test_a_get_with_a_body_is_held_to_it_too(client):
    assert (await client.request("GET", "/length", content=b"x" * 101)).status_code == 413
    assert (await client.get("/length")).json() == 0


async def test_a_route_may_set_a_limit_of_its_own(client):
    assert (await client.post("/upload/a", content=b"x" * 1000)).json() == 1000
    assert (await client.post("/upload/a", content=pieces(500))).json() == 500
    assert (await client.post("/upload/a", content=b"x" * 1001)).status_code == 413


async def test_other_scopes_pass():
    middleware = BodyLimitMiddleware(foreign, limit_bytes=1, routes=lambda: Routes(()))
    assert await passed(middleware, {"type": "websocket"})
