"""What an application says of other sites' requests counts: its CORS layers, and its routes."""

from typing import Any

import httpx2
import pytest
from fastapi import APIRouter, Depends, FastAPI, WebSocket
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Host, Mount
from structlog.testing import capture_logs

from servekit import Service, Settings, allow_cross_site
from servekit.install import entrance
from tests.asgi import call, http_scope

APP, EVIL = "https://app.example", "https://evil.example"
OWN_CORS: list[dict[str, Any]] = [
    {"allow_origins": [APP]},
    {"allow_origins": [APP], "allow_credentials": True},
    {"allow_origin_regex": r"https://.*\.example", "allow_methods": ["*"]},
    {"allow_origins": ["*"]},
    {"allow_origins": ["*"], "allow_credentials": True},
    {"allow_origins": []},
]


def make_app(**cors: Any) -> FastAPI:
    app = FastAPI()
    if cors:
        app.add_middleware(CORSMiddleware, **cors)

    @app.get("/")
    @app.post("/")
    async def write() -> str:
        return "written"

    @app.post("/callback", dependencies=[Depends(allow_cross_site(APP))])
    async def callback() -> str:
        return "written"

    return app


async def post(
    app: FastAPI, path: str = "/", origin: str = APP, method: str = "POST", **headers: str
) -> httpx2.Response:
    headers = {"origin": origin, "sec-fetch-site": "cross-site", **headers}
    transport = httpx2.ASGITransport(entrance(app) if hasattr(app.state, "servekit") else app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        return await client.request(method, path, headers=headers)


@pytest.fixture
def with_service(make_settings):
    def install(app: FastAPI, **options: Any) -> FastAPI:
        Service(make_settings(Settings, **options)).install(app)
        return app

    return install


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
@pytest.mark.parametrize("origin", [APP, EVIL, "null"])
@pytest.mark.parametrize("cookies", [{}, {"cookie": "a=b"}])
@pytest.mark.parametrize("named", [["*"], ["null"], [APP, "*"], [APP, "null"]])
async def test_origins_that_anybody_can_have_are_let_in_without_credentials(
    with_service, named, cookies, origin, method
):
    app = with_service(make_app(), cors_origins=named)
    asks = {"access-control-request-method": "POST"} if method == "OPTIONS" else {}
    with capture_logs() as logs:
        answer = await post(app, origin=origin, method=method, **cookies, **asks)

    credible, let_in = origin in {*named} - {"*", "null"}, {origin, "*"} & {*named}
    readable = origin if origin in named else "*" if let_in else None
    assert answer.headers.get("access-control-allow-origin") == readable
    assert ("access-control-allow-credentials" in answer.headers) is credible
    refused = not (credible or (let_in and not cookies))
    assert (answer.status_code == 403) is (refused and method == "POST")
    if answer.status_code == 403:
        [record] = [log for log in logs if log["event"] == "cross_site_request_refused"]
        assert ("`*` does not cover" in record["cause"]) is bool(let_in)


@pytest.mark.parametrize("cors", OWN_CORS)
@pytest.mark.parametrize("origin", [APP, EVIL, "null"])
@pytest.mark.parametrize("cookies", [{}, {"cookie": "a=b"}])
async def test_whom_an_own_cors_layer_lets_read_may_write(with_service, cors, origin, cookies):
    plain = await post(make_app(**cors), origin=origin, **cookies)
    ours = await post(with_service(make_app(**cors)), origin=origin, **cookies)

    named = plain.headers.get("access-control-allow-origin")
    credible = not cookies or named != "*"  # a browser does not send cookies to `*`
    assert ours.status_code == (200 if named and credible else 403)
    if ours.status_code == 200:
        for name in ("access-control-allow-origin", "access-control-allow-credentials"):
            assert ours.headers.get(name) == plain.headers.get(name)


async def test_two_cors_layers_are_refused_at_the_start(with_service):
    app = with_service(make_app(allow_origins=[APP]), cors_origins=[EVIL])
    with pytest.raises(RuntimeError, match=r"CORS_ORIGINS .* CORSMiddleware"):
        entrance(app)


async def test_a_cors_layer_of_a_mounted_application_counts_there_only(with_service):
    outer = make_app()
    outer.mount("/inner", make_app(allow_origins=[APP]))
    outer.mount("/wrapped", CORSMiddleware(make_app(), allow_origins=[APP]))
    outer.router.routes.append(Mount("/deep", routes=[Mount("/er", make_app(allow_origins=[APP]))]))
    with_service(outer)

    assert (await post(outer)).status_code == 403
    for path in ("/inner/", "/wrapped/", "/deep/er/"):
        assert (await post(outer, path)).status_code == 200, path
        assert (await post(outer, path, EVIL)).status_code == 403, path


async def test_an_identity_providers_form_post_reaches_the_route_that_takes_it(with_service):
    app = with_service(make_app())

    assert (await post(app, "/callback")).status_code == 200
    assert (await post(app, "/callback", EVIL)).status_code == 403
    assert (await post(app, "/")).status_code == 403


@pytest.mark.parametrize("where", ["route", "router", "inclusion", "mount"])
async def test_the_dependency_may_stand_wherever_dependencies_stand(with_service, where):
    rule = [Depends(allow_cross_site())]
    router = APIRouter(dependencies=rule if where == "router" else [])

    @router.post("/callback", dependencies=rule if where == "route" else [])
    async def callback() -> str:
        return "written"

    app = FastAPI()
    inner = FastAPI(dependencies=rule) if where == "mount" else app
    inner.include_router(router, prefix="/in", dependencies=rule if where == "inclusion" else [])
    if where == "mount":
        app.mount("/api", inner)
    with_service(app)

    path = "/api/in/callback" if where == "mount" else "/in/callback"
    assert (await post(app, path, "null")).status_code == 200


async def test_a_websocket_may_be_opened_to_other_sites(with_service):
    app = FastAPI()

    @app.websocket("/ws", dependencies=[Depends(allow_cross_site(APP))])
    async def ws(websocket: WebSocket) -> None:
        await websocket.accept()

    sent = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message["type"])

    serve = entrance(with_service(app))
    for origin in (APP, EVIL):
        headers = [("host", "localhost"), ("origin", origin), ("sec-fetch-site", "cross-site")]
        scope = {**http_scope("/ws", headers=headers), "type": "websocket", "subprotocols": []}
        await serve(scope, receive, send)
    assert sent == ["websocket.accept", "websocket.close"]


@pytest.mark.parametrize(("path", "method"), [("/", "HEAD"), ("*", "OPTIONS"), ("/", "OPTIONS")])
async def test_a_method_that_no_route_declares_is_answered_as_fastapi_does(
    with_service, path, method
):
    def app() -> FastAPI:
        app = FastAPI()

        @app.get("/")
        async def read() -> str:
            return "read"

        return app

    plain = await call(app(), path, method)
    headers = [("host", "localhost")]
    ours = await call(entrance(with_service(app())), path, method, headers=headers)
    assert ours.status == plain.status


@pytest.mark.parametrize("rule", ["route", "CORS"])
@pytest.mark.parametrize("at", ["mount", "host", "host in a mount"])
async def test_what_lets_other_sites_in_counts_wherever_its_application_is_put(
    with_service, rule, at
):
    inner, app = FastAPI(), FastAPI()
    if rule == "CORS":
        inner.add_middleware(CORSMiddleware, allow_origins=[APP], allow_credentials=True)
    rules = [Depends(allow_cross_site(APP))] if rule == "route" else []

    @inner.post("/write", dependencies=rules)
    async def write() -> str:
        return "written"

    place = Mount("/in", inner) if at == "mount" else Host("localhost", inner)
    app.router.routes.append(Mount("/in", routes=[place]) if at == "host in a mount" else place)
    path = "/write" if at == "host" else "/in/write"
    service = with_service(app)
    assert (await post(service, path)).text == '"written"'
    assert (await post(service, path, origin=EVIL)).status_code == 403
