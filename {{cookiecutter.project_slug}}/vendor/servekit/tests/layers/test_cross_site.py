import httpx2
import pytest
from fastapi import FastAPI

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
        answer = await client.request(method, "/", headers=headers)

    assert answer.status_code == status
    if status == 403:
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
async def test_reads_pass_from_everywhere(method):
    async with make_client() as client:
        headers = {"sec-fetch-site": "cross-site", "origin": "https://evil.test"}
        assert (await client.request(method, "/", headers=headers)).status_code == 200


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
