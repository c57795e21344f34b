from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from fastapi.responses import HTMLResponse

from servekit import Service, Settings
from servekit.layers.security_headers import SecurityHeadersMiddleware, default_security_headers
from tests.asgi import answers, call, foreign, passed

HTTPS = default_security_headers(hsts_seconds=63_072_000, hsts_subdomains=True)


@pytest.mark.parametrize("status", [200, 304, 404, 429, 500, 503])
async def test_every_status_carries_the_whole_set(status):
    answer = await call(SecurityHeadersMiddleware(answers(status), headers=HTTPS))
    assert set(HTTPS) <= set(answer.starts[0]["headers"])


def test_the_set_is_the_one_that_scanners_ask_for():
    headers = dict(HTTPS)
    policy = headers[b"content-security-policy"]
    for directive in (b"default-src 'none'", b"frame-ancestors 'none'", b"base-uri 'none'"):
        assert directive in policy
    assert headers[b"x-content-type-options"] == b"nosniff"
    assert headers[b"x-frame-options"] == b"DENY"
    assert headers[b"referrer-policy"] == b"no-referrer"
    assert headers[b"cross-origin-resource-policy"] == b"same-origin"
    assert headers[b"cross-origin-opener-policy"] == b"same-origin"
    assert b"permissions-policy" in headers
    assert int(headers[b"strict-transport-security"].split(b"=")[1].split(b";")[0]) >= 31536000
    assert b"includeSubDomains" in headers[b"strict-transport-security"]


def test_plain_http_promises_no_https():
    assert b"strict-transport-security" not in dict(default_security_headers())


@pytest.mark.parametrize(
    ("environment", "given", "said"),
    [
        ("production", {}, b"max-age=63072000; includeSubDomains"),
        ("production", {"hsts_subdomains": False}, b"max-age=63072000"),
        ("production", {"hsts_seconds": 300}, b"max-age=300; includeSubDomains"),
        ("production", {"hsts_seconds": 0}, None),
        ("development", {}, None),
    ],
)
def test_production_says_for_how_long_and_for_which_hosts_https_holds(
    make_settings, environment, given, said
):
    headers = Service(make_settings(Settings, environment=environment, **given)).headers
    assert dict(headers).get(b"strict-transport-security") == said


async def test_what_a_route_set_stays():
    own = [(b"x-frame-options", b"SAMEORIGIN"), (b"content-type", b"text/html")]
    app = SecurityHeadersMiddleware(answers(headers=own), headers=HTTPS)
    fields = (await call(app)).starts[0]["headers"]
    assert [v for n, v in fields if n == b"x-frame-options"] == [b"SAMEORIGIN"]
    assert (b"referrer-policy", b"no-referrer") in fields


async def test_only_the_pages_of_the_docs_may_load_scripts():
    page = answers(headers=[(b"content-type", b"text/html")])
    app = SecurityHeadersMiddleware(page, headers=HTTPS, docs_paths=["/docs"])
    assert b"script-src" in (await call(app, "/docs")).headers[b"content-security-policy"]
    assert b"script-src" not in (await call(app, "/")).headers[b"content-security-policy"]
    data = SecurityHeadersMiddleware(answers(), headers=HTTPS, docs_paths=["/docs"])
    assert b"script-src" not in (await call(data, "/docs")).headers[b"content-security-policy"]


@pytest.mark.parametrize("network", ["https://cdn.jsdelivr.net", "https://unpkg.com"])
@pytest.mark.parametrize("path", ["/docs", "/redoc"])
async def test_ones_own_pages_of_docs_load_from_the_networks_that_fastapi_names(
    make_settings, path, network
):
    app = FastAPI(docs_url=None, redoc_url=None)
    Service(make_settings(Settings)).install(app)

    @app.get(path, include_in_schema=False)
    async def page() -> HTMLResponse:
        script, style = f"{network}/own.js", f"{network}/own.css"
        if path == "/redoc":
            return get_redoc_html(openapi_url="/", title="", redoc_js_url=script)
        return get_swagger_ui_html(
            openapi_url="/", title="", swagger_js_url=script, swagger_css_url=style
        )

    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        answer = await client.get(path)
    policy = answer.headers["content-security-policy"].split("; ")
    for kind in ("script-src ", "style-src "):
        assert network in next(part for part in policy if part.startswith(kind))


@pytest.mark.parametrize("kind", [b"text/html", b"Text/HTML; charset=utf-8"])
async def test_a_page_may_load_what_its_own_site_serves(kind):
    app = SecurityHeadersMiddleware(answers(headers=[(b"Content-Type", kind)]), headers=HTTPS)
    policy = (await call(app)).headers[b"content-security-policy"]
    assert b"default-src 'self'" in policy
    assert b"frame-ancestors 'none'" in policy


@pytest.mark.parametrize("name", [b"content-security-policy", b"Content-Security-Policy"])
@pytest.mark.parametrize("kind", [b"text/html", b"application/json"])
@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_a_policy_of_its_own_wins_however_its_name_is_written(name, kind, path):
    own = [(b"content-type", kind), (name, b"default-src *")]
    app = SecurityHeadersMiddleware(answers(headers=own), headers=HTTPS, docs_paths=["/docs"])
    fields = (await call(app, path)).starts[0]["headers"]
    policies = [v for n, v in fields if n.lower() == b"content-security-policy"]
    assert policies == [b"default-src *"]


async def test_a_policy_that_the_service_sets_for_all_is_the_pages_too():
    headers = default_security_headers(csp=b"default-src https:")
    page = answers(headers=[(b"content-type", b"text/html")])
    answer = await call(SecurityHeadersMiddleware(page, headers=headers))
    assert answer.headers[b"content-security-policy"] == b"default-src https:"


async def test_a_socket_that_is_refused_carries_the_set():
    sent: list[Any] = []

    async def refusing(scope, receive, send):
        await send({"type": "websocket.http.response.start", "status": 403})

    async def send(message):
        sent.append(message)

    app: Any = SecurityHeadersMiddleware(refusing, headers=HTTPS)
    await app({"type": "websocket", "path": "/"}, None, send)
    assert sent[0]["headers"] == HTTPS


async def test_an_answer_that_is_used_again_does_not_collect_headers():
    given = [(b"content-type", b"text/plain")]

    async def tuples(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": tuple(given)})

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": given})
        await send({"type": "http.response.body", "body": b""})

    await call(SecurityHeadersMiddleware(app, headers=HTTPS))
    assert given == [(b"content-type", b"text/plain")]
    answer = await call(SecurityHeadersMiddleware(tuples, headers=HTTPS))
    assert answer.starts[0]["headers"] == given + HTTPS


async def test_other_scopes_pass():
    assert await passed(SecurityHeadersMiddleware(foreign, headers=HTTPS), {"type": "websocket"})
