"""A route's own deadline is its body's too: FastAPI reads that before it calls a dependency."""

import asyncio
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, File, Form, UploadFile
from pydantic import BaseModel

from servekit import Service, Settings, deadline
from servekit.install import entrance
from servekit.testing.lifespan import Lifespan
from tests.edge.wire import Client

JSON, FORM = "application/json", "application/x-www-form-urlencoded"
PARTS = "multipart/form-data; boundary=b"
FILE = '--b\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\nx\r\n--b--\r\n'
USUAL_SECONDS = 0.3


class Item(BaseModel):
    name: str


async def of_model(item: Item) -> str:
    return item.name


async def of_form(name: Annotated[str, Form()]) -> str:
    return name


async def of_file(file: Annotated[UploadFile, File()]) -> str:
    return (await file.read()).decode()


BODIES: dict[str, tuple[Any, str, str]] = {
    "/model": (of_model, JSON, '{"name": "x"}'),
    "/form": (of_form, FORM, "name=x"),
    "/file": (of_file, PARTS, FILE),
}


def routes(seconds: float) -> APIRouter:
    """Return a router of its own deadline, for one that includes it with another."""
    router = APIRouter(dependencies=[Depends(deadline(seconds))])
    for path, (endpoint, _, _) in BODIES.items():
        router.add_api_route(path, endpoint, methods=["POST"])
    return router


@pytest.fixture
async def client(make_settings):
    service = Service(make_settings(Settings, timeout_request_seconds=USUAL_SECONDS))
    app, inner = FastAPI(telemetry=service.telemetry), FastAPI()
    service.install(app)
    app.include_router(routes(60), prefix="/long", dependencies=[Depends(deadline(0.01))])
    inner.include_router(routes(60))
    app.mount("/inner", inner)
    app.include_router(routes(0.05), prefix="/short")
    async with Lifespan(entrance(app)) as serve:
        yield Client(serve)


async def status_of(client: Client, path: str, *, seconds: float) -> int:
    """Return the status of a request whose body's second half comes so much later."""
    _, kind, body = BODIES[path[path.rindex("/") :]]
    half = len(body) // 2
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {kind}\r\n"
    head += f"content-length: {len(body)}\r\n\r\n{body[:half]}"
    asked = asyncio.ensure_future(client.ask(head.encode()))
    await asyncio.sleep(seconds)
    client.protocol.data_received(body[half:].encode())
    answer: bytes = await asked
    return int(answer.split()[1])


async def test_a_dependency_with_a_method_of_our_name_is_called_as_fastapi_does(make_settings):
    class Own:
        def when_routed(self) -> None:
            raise AssertionError

        async def __call__(self) -> int:
            return 7

    service = Service(make_settings(Settings))
    app = FastAPI(telemetry=service.telemetry)
    service.install(app)

    @app.get("/")
    async def read(number: Annotated[int, Depends(Own())]) -> int:
        return number

    async with Lifespan(entrance(app)) as serve:
        answer = await Client(serve).ask(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
    assert answer.endswith(b"7")


@pytest.mark.parametrize("prefix", ["/long", "/inner"])
@pytest.mark.parametrize("body", BODIES)
async def test_a_route_with_more_time_has_it_for_a_slow_body(client, prefix, body):
    assert await status_of(client, prefix + body, seconds=2 * USUAL_SECONDS) == 200


@pytest.mark.parametrize("body", BODIES)
async def test_a_route_with_less_time_ends_while_its_body_comes(client, body):
    assert await status_of(client, "/short" + body, seconds=USUAL_SECONDS * 0.8) == 504
