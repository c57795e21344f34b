"""The headers of a real application: documentation works wherever it is, and a route's own win."""

from typing import Any

import httpx2
import pytest
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, StreamingResponse
from starlette.middleware.base import BaseHTTPMiddleware

from servekit import Service, Settings
from servekit.layers.security_headers import default_security_headers

NAMES = [name.decode() for name, _ in default_security_headers(hsts_seconds=300)]
NAMES += ["x-request-id", "cache-control"]
EACH = {name: ["own"] for name in NAMES}
POLICY = "content-security-policy"


@pytest.fixture
def settings(make_settings):
    return make_settings(Settings)


@pytest.fixture
def app(settings):
    inner = FastAPI(docs_url="/reference", redoc_url="/redoc")
    innermost = FastAPI()
    inner.mount("/innermost", innermost)
    app = FastAPI(docs_url="/internal/docs")
    app.mount("/sub", inner)
    service = Service(settings)
    service.headers = default_security_headers(hsts_seconds=300)
    service.install(app)

    @app.get("/docs")
    async def own_docs() -> HTMLResponse:
        return get_swagger_ui_html(openapi_url="/openapi.json", title="x")

    async def page() -> HTMLResponse:
        return HTMLResponse("<p>")

    for each, path in ((app, "/page"), (inner, "/docs"), (inner, "/page"), (innermost, "/page")):
        each.get(path)(page)

    @app.get("/sets/{kind}")
    async def sets(kind: str, request: Request, response: Response) -> Any:
        own = dict.fromkeys(NAMES, request.query_params["value"])
        if kind == "error":
            raise HTTPException(410, headers=own)
        if kind == "stream":
            return StreamingResponse(iter(["a", "b"]), headers=own)
        if kind in {"page", "data"}:
            make = HTMLResponse if kind == "page" else Response
            return make("<p>", headers=own)
        response.headers.update(own)
        return "typed"

    return app


@pytest.mark.parametrize("root_path", ["", "/shop"])
@pytest.mark.parametrize(
    "path",
    [
        "/internal/docs", "/docs/oauth2-redirect", "/redoc", "/docs",
        "/sub/reference", "/sub/redoc", "/sub/docs/oauth2-redirect",
        "/sub/innermost/docs", "/sub/innermost/redoc",
    ],
)  # fmt: skip
async def test_documentation_may_load_what_it_needs(app, path, root_path):
    answer = await ask(app, path, root_path)
    assert answer.status_code == 200
    assert "https://cdn.jsdelivr.net" in answer.headers[POLICY]
    assert "script-src 'self' 'unsafe-inline'" in answer.headers[POLICY]


@pytest.mark.parametrize(
    ("path", "policy"),
    [
        ("/page", "default-src 'self'"),
        ("/sub/page", "default-src 'self'"),
        ("/sub/docs", "default-src 'self'"),
        ("/sub/innermost/page", "default-src 'self'"),
        ("/openapi.json", "default-src 'none'"),
        ("/sub/openapi.json", "default-src 'none'"),
        ("/sub/nowhere", "default-src 'none'"),
    ],
)
async def test_nothing_else_may(app, path, policy):
    answer = await ask(app, path)
    assert answer.headers[POLICY].startswith(policy)
    assert "jsdelivr" not in answer.headers[POLICY]


@pytest.mark.parametrize("kind", ["typed", "data", "page", "stream", "error"])
async def test_a_header_that_a_route_sets_wins(app, kind):
    answer = await ask(app, f"/sets/{kind}?value=own")
    assert {name: answer.headers.get_list(name) for name in NAMES} == EACH


@pytest.mark.parametrize("path", ["/page", "/nowhere", "/sub/innermost/docs"])
async def test_and_so_does_one_of_a_middleware(app, path):
    async def own(request: Request, call_next: Any) -> Response:
        answer: Response = await call_next(request)
        answer.headers.update(dict.fromkeys(NAMES, "own"))
        return answer

    app.add_middleware(BaseHTTPMiddleware, dispatch=own)
    answer = await ask(app, path)
    assert {name: answer.headers.get_list(name) for name in NAMES} == EACH


async def ask(app: FastAPI, path: str, root_path: str = "") -> httpx2.Response:
    transport = httpx2.ASGITransport(app, root_path=root_path)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        return await client.get(root_path + path)
