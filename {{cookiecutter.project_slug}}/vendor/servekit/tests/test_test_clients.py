"""Under a test client an application with a service behaves as one without."""

import httpx2
import pytest
from fastapi import BackgroundTasks, FastAPI, HTTPException, WebSocket
from starlette.responses import StreamingResponse
from starlette.testclient import TestClient

from servekit import Service
from servekit.testing.lifespan import Lifespan


class OwnError(Exception):
    pass


def application():
    app = FastAPI()

    @app.get("/broken")
    async def broken() -> None:
        raise OwnError("broken")

    @app.get("/blocking")
    def blocking() -> None:
        raise OwnError("broken")

    @app.get("/known")
    async def known() -> None:
        raise HTTPException(409, "known")

    @app.get("/background")
    async def background(tasks: BackgroundTasks) -> str:
        async def fail() -> None:
            raise OwnError("late")

        tasks.add_task(fail)
        return "done"

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def pieces():
            yield b"a"
            raise OwnError("half way")

        return StreamingResponse(pieces())

    @app.websocket("/socket")
    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        raise OwnError("socket")

    return app


@pytest.fixture(params=["bare", "with a service"])
def app(request, settings):
    app = application()
    if request.param != "bare":
        Service(settings).install(app)
    return app


FAILING = ["/broken", "/blocking", "/background", "/stream"]


@pytest.mark.parametrize("path", FAILING)
def test_a_test_client_raises_what_a_route_raised(app, path):
    with TestClient(app) as client, pytest.raises(OwnError):
        client.get(path)


@pytest.mark.parametrize("url", ["http://localhost", "http://test", "http://testserver"])
async def test_a_client_of_the_documentations_is_no_stranger(app, url):
    transport = httpx2.ASGITransport(app)
    async with Lifespan(app), httpx2.AsyncClient(transport=transport, base_url=url) as client:
        assert (await client.get("/known")).status_code == 409


def test_a_test_client_that_asks_for_it_gets_an_answer(app):
    with TestClient(app, raise_server_exceptions=False) as client:
        assert [client.get(path).status_code for path in FAILING[:3]] == [500, 500, 200]


def test_what_has_a_status_is_an_answer(app):
    with TestClient(app) as client:
        assert client.get("/known").status_code == 409


def test_a_test_client_raises_what_a_socket_raised(app):
    with TestClient(app) as client, pytest.raises(OwnError), client.websocket_connect("/socket"):
        pass


@pytest.mark.parametrize("path", FAILING)
async def test_httpx_raises_it_too(app, path):
    async with Lifespan(app) as running:
        transport = httpx2.ASGITransport(app=running)
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
            with pytest.raises(OwnError):
                await client.get(path)
