"""Behind a prefix an application answers as plain FastAPI does under `uvicorn --root-path`."""

from typing import Any

import httpx2
import pytest
from fastapi import APIRouter, Depends, FastAPI, Request, WebSocket
from fastapi.exceptions import FastAPIDeprecationWarning
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from servekit import Service, Settings
from servekit.admission.importance import Importances
from servekit.cache import cache_response
from servekit.install import entrance
from servekit.testing.lifespan import Lifespan
from tests.asgi import call, http_scope
from tests.plain.asks import Talk
from tests.plain.ways import talk

PATHS = [
    *("/", "/items", "/items/", "/items?a=b", "/items/?a=b", "/cached/7", "/cached/7/"),
    *("/inner/list", "/inner/list/", "/inner/docs", "/inner/openapi.json"),
    *("/docs", "/openapi.json", "/none", "/shopping", "/raw/x"),
]
SHOWN = {"x-forwarded-prefix": "/shop"}
WAYS: dict[str, tuple[str, dict[str, Any], dict[str, str]]] = {
    "ROOT_PATH and a front that strips": ("", {"root_path": "/shop"}, {}),
    "ROOT_PATH and one that does not": ("/shop", {"root_path": "/shop"}, {}),
    "X-Forwarded-Prefix and a front that strips": ("", {"trusted_proxy_hops": 1}, SHOWN),
    "X-Forwarded-Prefix and one that does not": ("/shop", {"trusted_proxy_hops": 1}, SHOWN),
}


def make_app(**options: Any) -> FastAPI:
    app, inner, router = FastAPI(**options), FastAPI(), APIRouter(prefix="/items")

    @app.get("/")
    async def home(request: Request) -> list[str]:
        return [str(request.url), str(request.url_for("inner", path="/list"))]

    @router.get("")
    async def items(request: Request) -> list[str]:
        links = [request.url, request.base_url, request.url_for("cached", n=1)]
        return [*map(str, links), request.scope["path"], request.scope["root_path"]]

    @inner.get("/list")
    async def listed(request: Request) -> list[str]:
        return [str(request.url), str(request.url_for("home"))]

    @app.websocket("/talk")
    async def say(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(f"{websocket.url.path} {websocket.url_for('items').path}")
        await websocket.close()

    app.include_router(router)
    app.mount("/inner", inner, name="inner")
    return app


def add_cached(app: FastAPI, *dependencies: Any) -> FastAPI:
    """Add a route whose answer holds a link, and is kept where a dependency says so."""

    @app.get("/cached/{n}", dependencies=[*dependencies])
    async def cached(n: int, request: Request) -> list[str]:
        return [str(n), str(request.url_for("items"))]

    return app


def under_root_path(app: ASGIApp) -> ASGIApp:
    """Call an application as `uvicorn --root-path /shop` does."""

    async def rooted(scope: Scope, receive: Receive, send: Send) -> None:
        path = "/shop" + scope["path"]
        changes = {"root_path": "/shop", "path": path, "raw_path": path.encode()}
        await app({**scope, **changes}, receive, send)

    return rooted


async def answers_of(app: ASGIApp, before: str = "", headers: Any = None) -> dict[str, Any]:
    """Return status, target and text of each path; that a 422 is a problem is not looked at."""
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        answers = {path: await client.get(before + path, headers=headers) for path in PATHS}
    texts = {
        path: one.text.replace("application/problem+json", "application/json") * one.is_success
        for path, one in answers.items()
    }
    return {
        path: (one.status_code, one.headers.get("location"), texts[path])
        for path, one in answers.items()
    }


@pytest.mark.parametrize("way", WAYS)
async def test_it_answers_as_plain_fastapi_under_a_root_path(way, make_settings):
    before, options, headers = WAYS[way]
    expected = await answers_of(under_root_path(add_cached(make_app())))
    app = add_cached(make_app(), Depends(cache_response(ttl_seconds=60)))
    Service(make_settings(Settings, **options)).install(app)
    async with Lifespan(app) as running:
        assert await answers_of(running, before, headers) == expected
        assert await answers_of(running, before, headers) == expected  # the cached one, again


@pytest.mark.parametrize("own", ["/shop", "/shop/"])
@pytest.mark.parametrize("hops", [0, 1])
@pytest.mark.parametrize("enter", [lambda app: app, entrance])
async def test_a_root_path_of_the_application_means_what_fastapi_says(
    make_settings, enter, hops, own
):
    with pytest.warns(FastAPIDeprecationWarning, match="root_path"):
        plain, app = (add_raw(make_app(root_path=own)) for _ in range(2))
    add_cached(plain)
    add_cached(app, Depends(cache_response(ttl_seconds=60)))
    Service(make_settings(Settings, trusted_proxy_hops=hops)).install(app)
    entered = enter(app)
    async with Lifespan(app):
        for before in ("", "/shop"):
            expected = await answers_of(plain, before)
            for _ in range(2):  # the cached one, again
                assert await answers_of(entered, before) == expected
            heard = [await talk(one, Talk(f"{before}/talk")) for one in (plain, entered)]
            assert heard[0] == heard[1]


def add_raw(app: FastAPI) -> FastAPI:
    """Mount an application of plain ASGI that shows where it is asked for."""

    async def raw(scope: Scope, receive: Receive, send: Send) -> None:
        places = [scope[name] for name in ("path", "root_path", "raw_path")]
        await JSONResponse(list(map(str, places)))(scope, receive, send)

    app.mount("/raw", raw)
    return app


async def test_two_that_differ_are_refused_at_the_start(make_settings):
    with pytest.warns(FastAPIDeprecationWarning, match="root_path"):
        app = make_app(root_path="/shop")
    Service(make_settings(Settings, root_path="/other")).install(app)
    with pytest.raises(RuntimeError, match=r"ROOT_PATH is /other and .* is /shop: unset one"):
        app.build_middleware_stack()


async def test_links_of_one_prefix_are_not_cached_for_another(make_settings):
    app = add_cached(make_app(), Depends(cache_response(ttl_seconds=60)))
    Service(make_settings(Settings, trusted_proxy_hops=1)).install(app)
    async with Lifespan(app) as running:
        for prefix in ("/a", "/b", "/a"):
            fields = [("host", "localhost"), ("x-forwarded-prefix", prefix)]
            answer = await call(running, "/cached/1", headers=fields)
            assert answer.body == f'["1","http://localhost{prefix}/items"]'.encode()


@pytest.mark.parametrize("path", ["/docs", "/shop/docs"])
async def test_the_documentation_may_load_its_scripts(path, make_settings):
    app = make_app()
    Service(make_settings(Settings, root_path="/shop")).install(app)
    async with Lifespan(app) as running:
        answer = await call(running, path, headers=[("host", "localhost")])
    assert b"cdn.jsdelivr.net" in answer.headers[b"content-security-policy"]
    assert b"'/shop/openapi.json'" in answer.body or b'"/shop/openapi.json"' in answer.body


async def test_a_websocket_has_the_prefix_too(make_settings):
    app = add_cached(make_app())
    Service(make_settings(Settings, root_path="/shop")).install(app)
    async with Lifespan(app) as running:
        assert await in_process_talk(running, "/talk") == "/shop/talk /shop/items"
        assert await in_process_talk(running, "/shop/talk") == "/shop/talk /shop/items"


async def in_process_talk(app: ASGIApp, path: str) -> str:
    """Return the first text that comes over a WebSocket."""
    heard = await talk(app, Talk(path))
    return str(heard[1])


async def test_a_tag_of_a_cached_answer_has_its_parameter(make_settings):
    app, runs = make_app(), []
    service = Service(make_settings(Settings, root_path="/shop"))
    service.install(app)

    @app.get("/counted/{n}", dependencies=[Depends(cache_response(ttl_seconds=60, tags=["n:{n}"]))])
    async def counted(n: int) -> int:
        runs.append(n)
        return len(runs)

    async with Lifespan(app) as running:
        for expected in (b"1", b"1"):
            answer = await call(running, "/counted/5", headers=[("host", "localhost")])
            assert answer.body == expected
        await service.cache.invalidate_tag("n:5")
        answer = await call(running, "/shop/counted/5", headers=[("host", "localhost")])
    assert answer.body == b"2"


async def test_a_path_has_its_importance_behind_a_prefix():
    importances = Importances(critical=["/orders"])
    scope = http_scope("/shop/orders", root_path="/shop")
    assert importances.of(scope) == "critical"
