import httpx2
import pytest
from fastapi import FastAPI
from structlog.testing import capture_logs

from servekit.layers.cross_site import CrossSiteMiddleware

HOST = "shop.test"


def make_client(**options):
    app = FastAPI()

    @app.api_route("/", methods=["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"])
    async def anything() -> str:
        return "done"

    transport = httpx2.ASGITransport(CrossSiteMiddleware(app, **options))
    return httpx2.AsyncClient(transport=transport, base_url=f"https://{HOST}")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-site": "none"}, 200),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "nonsense"}, 403),
        ({"sec-fetch-site": "cross-site", "origin": f"https://{HOST}"}, 403),
        ({"origin": f"https://{HOST}"}, 200),
        ({"origin": f"http://{HOST.upper()}"}, 200),
        ({"origin": f"https://{HOST}:8443"}, 403),
        ({"origin": "https://evil.test"}, 403),
        ({"origin": f"https://evil-{HOST}"}, 403),
        ({"origin": f"https://{HOST}.evil.test"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": HOST}, 403),
    ],
)
async def test_writes_pass_from_this_site_and_from_what_is_no_browser(method, headers, status):
    async with make_client() as client:
        answer = await client.request(method, "/", headers=headers | {"cookie": "a=b"})

    assert answer.status_code == status
    if status == 403:
        assert answer.headers["content-type"] == "application/problem+json"


FORM, JSON = "application/x-www-form-urlencoded", "application/json"
COOKIE = {"cookie": "other=1"}
BEARER, BASIC = {"authorization": "Bearer t"}, {"authorization": "basic dTpw"}
CROSS_SITE = [{"sec-fetch-site": "cross-site", "origin": "https://evil.test"}]
CROSS_SITE += [{"sec-fetch-site": "same-site"}, {"origin": "https://evil.test"}]


@pytest.mark.parametrize("site", CROSS_SITE)
@pytest.mark.parametrize(
    ("method", "media_type", "fields", "status"),
    [
        # What a form or an image can send, without asking: a login too.
        ("POST", FORM, {}, 403),
        ("POST", "multipart/form-data; boundary=x", {}, 403),
        ("POST", "text/plain", {}, 403),
        ("POST", "Text/Plain ; x=application/json", {}, 403),
        ("POST", "", {}, 403),
        ("POST", None, {}, 403),
        # What a browser sends after a preflight only.
        ("POST", JSON, {}, 200),
        ("POST", "application/merge-patch+json; charset=utf-8", {}, 200),
        ("POST", None, BEARER, 200),
        ("POST", FORM, BEARER, 200),
        ("PUT", None, {}, 200),
        ("DELETE", None, BEARER, 200),
        ("PATCH", FORM, {}, 200),
        # What a browser adds by itself is used by whoever asks.
        ("POST", JSON, COOKIE, 403),
        ("DELETE", None, COOKIE, 403),
        ("POST", JSON, BEARER | COOKIE, 403),
        ("POST", FORM, BASIC, 403),
        ("POST", JSON, BASIC, 403),
        ("PUT", None, {"authorization": "Negotiate abc"}, 403),
    ],
)
async def test_without_cookies_what_takes_a_preflight_passes(
    site, method, media_type, fields, status
):
    given = {} if media_type is None else {"content-type": media_type}
    async with make_client() as client:
        answer = await client.request(method, "/", headers=site | fields | given)
    assert answer.status_code == status


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
async def test_reads_pass_from_everywhere(method):
    async with make_client() as client:
        headers = {"sec-fetch-site": "cross-site", "origin": "https://evil.test"}
        assert (await client.request(method, "/", headers=headers)).status_code == 200


async def test_a_refusal_names_the_setting_and_the_origin():
    with capture_logs() as logs:
        async with make_client() as client:
            for _ in range(3):
                await client.post("/", headers={"origin": "https://evil.test"})
    assert [(each["setting"], each["origin"]) for each in logs] == [
        ("CORS_ORIGINS", "https://evil.test")
    ]


async def test_listed_origins_and_on_demand_sibling_domains_may_write():
    async with make_client(allowed_origins=["https://app.test"], allow_same_site=True) as client:
        for headers in (
            {"sec-fetch-site": "cross-site", "origin": "https://app.test"},
            {"origin": "https://app.test"},
            {"sec-fetch-site": "same-site", "origin": "https://other.shop.test"},
        ):
            assert (await client.post("/", headers=headers)).status_code == 200
        refused = await client.post("/", headers={"origin": "http://app.test"})
        assert refused.status_code == 403


@pytest.mark.parametrize(
    ("origin", "sent"), [(b"https://shop.test", ["reached"]), (b"https://evil.test", ["closed"])]
)
async def test_another_sites_websocket_is_refused_in_the_handshake(origin, sent):
    seen = []

    async def inner(scope, receive, send):
        seen.append("reached")

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        assert message["type"] == "websocket.close"
        seen.append("closed")

    headers = [(b"host", b"shop.test"), (b"origin", origin)]
    scope = {"type": "websocket", "path": "/ws", "headers": headers}
    await CrossSiteMiddleware(inner)(scope, receive, send)

    assert seen == sent
