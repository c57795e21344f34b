"""Every request is answered as FastAPI's own route answers it; what is direct is also asserted."""

import gc
import weakref
from typing import Annotated, Any

import pytest
from fastapi import (
    APIRouter,
    Depends,
    FastAPI,
)
from fastapi.exceptions import ResponseValidationError

from servekit.routing.compiled import compile_router
from servekit.routing.direct import Direct
from tests.asgi import call
from tests.routing.direct_routes import Item, ask, compiled, direct_routes, usual_routes


class Application:
    """Both kinds of routes in one application, and the calls that its handlers tell of."""

    def __init__(self, *, ours: bool) -> None:
        self.calls: list[str] = []
        self.app = FastAPI()
        self.app.include_router(direct_routes(self.calls))
        self.app.include_router(usual_routes())
        if ours:
            compile_router(self.app.router)


@pytest.fixture(scope="module")
def applications() -> tuple[Application, Application]:
    """FastAPI's way and ours: made once, as they take longer than a request."""
    return Application(ours=False), Application(ours=True)


REQUESTS: list[tuple[str, str, dict[str, str], str]] = [
    ("GET", "/plain", {}, ""),
    ("HEAD", "/plain", {}, ""),
    ("GET", "/list", {}, ""),
    ("GET", "/union", {}, ""),
    ("GET", "/dict", {}, ""),
    ("GET", "/response", {}, ""),
    ("GET", "/all/3?tags=a&tags=b&wanted=yes", {"x-agent": "me", "cookie": "taste=salt"}, ""),
    ("GET", "/places/3/here", {}, ""),
    ("GET", "/places/x/here", {}, ""),
    ("GET", "/files/1.5/a/b%20c", {}, ""),
    ("GET", "/files/large/a/b/c/d/e/f", {}, ""),
    ("GET", "/all/x?tags=a&tags=b&tags=c&wanted=perhaps", {"x-agent": "m"}, ""),
    ("GET", "/all/0", {}, ""),
    ("GET", "/dependent?factor=3", {"x-count": "1"}, ""),
    ("GET", "/dependent?factor=0", {}, ""),
    ("GET", "/wrong/2?factor=5", {"x-count": "1"}, ""),
    ("GET", "/wrong/0?factor=none", {}, ""),
    ("GET", "/refused", {}, ""),
    ("GET", "/missing", {}, ""),
    ("POST", "/plain", {}, ""),
    ("GET", "/nowhere", {}, ""),
    ("POST", "/body", {"content-type": "application/json"}, '{"number": 1}'),
    ("POST", "/value", {"content-type": "application/json"}, '{"number": "x"}'),
    ("GET", "/sync", {}, ""),
    ("GET", "/sync-dependency", {}, ""),
    ("GET", "/generator", {}, ""),
    ("GET", "/headers", {}, ""),
    ("GET", "/background", {}, ""),
    ("GET", "/untyped", {}, ""),
    ("GET", "/stream", {}, ""),
    ("GET", "/text", {}, ""),
    ("GET", "/set-fields", {}, ""),
    ("GET", "/names", {}, ""),
    ("DELETE", "/nothing", {}, ""),
    ("GET", "/limited", {}, ""),
]


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: f"{request[0]} {request[1]}")
async def test_a_request_is_answered_as_by_fastapi(request_, applications):
    usual, ours = applications
    usual.calls.clear()
    ours.calls.clear()

    assert await ask(ours.app, *request_) == await ask(usual.app, *request_)
    assert ours.calls == usual.calls


def test_what_needs_more_than_parameters_and_the_request_goes_the_usual_way():
    direct, usual = FastAPI(openapi_url=None), FastAPI(openapi_url=None)
    direct.include_router(direct_routes([]))
    usual.include_router(usual_routes())

    assert [
        path for path, answer in compiled(direct).items() if not isinstance(answer, Direct)
    ] == []
    assert [path for path, answer in compiled(usual).items() if isinstance(answer, Direct)] == []


async def test_an_answer_that_breaks_its_own_model_is_an_error_of_the_server():
    router, app = APIRouter(), FastAPI()

    @router.get("/", response_model=Item)
    async def broken() -> dict[str, str]:
        return {"number": "none"}

    app.include_router(router)
    compile_router(app.router)
    with pytest.raises(ResponseValidationError):
        await call(app)


async def test_dependencies_can_be_overridden_in_tests():
    router, app = APIRouter(), FastAPI()

    async def word() -> str:
        return "given"

    @router.get("/")
    async def answer(word: Annotated[str, Depends(word)]) -> str:
        return word

    app.include_router(router)
    compile_router(app.router)
    before = await call(app)
    app.dependency_overrides[word] = lambda: "replaced"
    after = await call(app)

    assert (before.body, after.body) == (b'"given"', b'"replaced"')


async def test_a_traced_request_goes_the_usual_way_that_opens_its_spans():
    app = FastAPI()
    app.include_router(direct_routes([]))
    answer = compiled(app)["/plain"]
    usual: list[str] = []

    async def note(scope, receive, send):
        usual.append(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    assert isinstance(answer, Direct)
    answer._usual = note
    traced: dict[str, Any] = {"fastapi.telemetry": object()}
    await call(app, "/plain", **traced)
    assert usual == ["/plain"]


async def test_a_router_with_a_prefix_answers_directly_too():
    app = FastAPI()
    app.include_router(direct_routes([]), prefix="/v1")

    assert isinstance(compiled(app)["/v1/plain"], Direct)
    assert (await call(app, "/v1/plain")).body == b'{"number":1,"title":"a"}'


# What others put around a route, or change of it, is honoured.


def test_a_router_of_a_module_keeps_no_application_alive():
    router = direct_routes([])
    alive = []
    for _ in range(3):
        app = FastAPI()
        app.include_router(router)
        compiled(app)
        alive.append(weakref.ref(app))
    del app
    gc.collect()

    assert [one() for one in alive] == [None, None, None]
    router.add_api_route("/late", lambda: None)
