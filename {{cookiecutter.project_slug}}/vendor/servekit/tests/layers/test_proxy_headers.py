import pytest

from servekit.layers.proxy_headers import ProxyHeadersMiddleware
from tests.asgi import answers, call, foreign, passed

PEER = ("192.0.2.1", 50000)


async def scope_after(hops: int, *headers: tuple[str, str], **changes):
    answer = await call(
        ProxyHeadersMiddleware(answers(), hops=hops), headers=list(headers), **changes
    )
    return answer.scope


async def test_without_a_proxy_nothing_of_it_is_believed():
    scope = await scope_after(
        0,
        ("x-forwarded-for", "203.0.113.9"),
        ("x-forwarded-proto", "https"),
        ("forwarded", "for=203.0.113.9;proto=https"),
    )
    assert scope["client"] == PEER
    assert scope["scheme"] == "http"


@pytest.mark.parametrize(
    ("hops", "fields", "client"),
    [
        (1, ["6.6.6.6, 203.0.113.9"], "203.0.113.9"),
        (2, ["6.6.6.6, 203.0.113.9, 10.0.0.1"], "203.0.113.9"),
        (2, ["6.6.6.6, 203.0.113.9", "10.0.0.1"], "203.0.113.9"),
        (2, ["203.0.113.9"], PEER[0]),
        (1, ["6.6.6.6, unknown"], PEER[0]),
        (1, ["6.6.6.6, "], PEER[0]),
        (1, ["2001:db8::1"], "2001:db8::1"),
        (1, ["::ffff:203.0.113.9"], "203.0.113.9"),
        (1, ["[::FFFF:cb00:7109]:443"], "203.0.113.9"),
        (1, ["[2001:db8::1]:443"], "2001:db8::1"),
        (1, ["203.0.113.9:1234"], "203.0.113.9"),
        (1, ["203.0.113.9\x1b[31m"], PEER[0]),
    ],
)
async def test_the_client_is_counted_from_the_right(hops, fields, client):
    scope = await scope_after(hops, *[("x-forwarded-for", field) for field in fields])
    assert scope["client"][0] == client


@pytest.mark.parametrize(
    ("kind", "told", "scheme"),
    [
        ("http", "https", "https"),
        ("http", "http, HTTPS", "https"),
        ("http", "https, http", "http"),
        ("http", "javascript", "http"),
    ],
)
async def test_the_scheme_is_http_or_https(kind, told, scheme):
    assert (await scope_after(1, ("x-forwarded-proto", told)))["scheme"] == scheme


async def test_a_websocket_gets_its_own_schemes():
    scope = {
        "type": "websocket",
        "scheme": "ws",
        "client": PEER,
        "headers": [(b"x-forwarded-proto", b"https")],
    }
    assert await passed(ProxyHeadersMiddleware(foreign, hops=1), scope)
    assert scope["scheme"] == "wss"


async def test_the_host_of_a_proxy_is_never_taken_over():
    scope = await scope_after(1, ("host", "a"), ("x-forwarded-host", "b"))
    assert (b"host", b"a") in scope["headers"]


async def test_other_scopes_pass():
    assert await passed(ProxyHeadersMiddleware(foreign, hops=1), {"type": "lifespan"})
