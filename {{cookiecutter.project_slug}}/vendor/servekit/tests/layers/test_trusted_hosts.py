import pytest
import structlog

from servekit.configuration.settings import Settings
from servekit.layers.trusted_hosts import REMEMBERED, TrustedHostsMiddleware
from tests.asgi import answers, call, foreign, passed
from tests.configuration.settings_table import TABLE

ALLOWED = ["api.example.com", "*.shop.example", "127.0.0.1", "[::1]"]


async def status(*hosts: str, allowed=ALLOWED) -> int:
    app = TrustedHostsMiddleware(answers(), allowed=allowed)
    return (await call(app, headers=[("host", host) for host in hosts])).status


@pytest.mark.parametrize(
    "host",
    [
        "api.example.com",
        "API.example.com:8000",
        "api.example.com.",
        "a.b.shop.example",
        "127.0.0.1:80",
        "[::1]",
        "[::1]:8000",
    ],
)
async def test_our_hosts_pass_with_any_port_and_case(host):
    assert await status(host) == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "shop.example",
        "evilshop.example",
        "api.example.com.evil.example",
        "api.example.com:80@evil.example",
        "api.example.com:x",
        "[::1]evil",
        "[::2]",
        "::1",
        "",
    ],
)
async def test_any_other_host_is_refused(host):
    assert await status(host) == 400


async def test_exactly_one_host_is_needed():
    assert await status() == 400
    assert await status("api.example.com", "api.example.com") == 400


async def test_a_star_allows_all():
    assert await status("evil.example", allowed=["*"]) == 200


async def test_x_forwarded_host_is_not_looked_at():
    app = TrustedHostsMiddleware(answers(), allowed=ALLOWED)
    headers = [("host", "evil.example"), ("x-forwarded-host", "api.example.com")]
    assert (await call(app, headers=headers)).status == 400


async def test_what_is_remembered_is_bounded():
    app = TrustedHostsMiddleware(answers(), allowed=ALLOWED)
    for number in range(REMEMBERED + 10):
        await call(app, headers=[("host", f"{number}.shop.example")])
        await call(app, headers=[("host", f"{number}.evil.example")])
    assert len(app.accepted) == REMEMBERED


async def test_other_scopes_pass_and_a_websocket_is_checked_too():
    app = TrustedHostsMiddleware(foreign, allowed=ALLOWED)
    assert await passed(app, {"type": "lifespan"})
    assert not await passed(app, {"type": "websocket", "headers": [(b"host", b"evil.example")]})


async def test_a_refused_host_is_in_the_log_now_and_then():
    app = TrustedHostsMiddleware(answers(), allowed=ALLOWED)
    with structlog.testing.capture_logs() as logs:
        for _ in range(5):
            await call(app, headers=[("host", "shop.example:8000")])
        app._log._said_at.clear()
        await call(app, headers=[("host", "x" * 5000)])
    first, second = [each for each in logs if each["event"] == "host_refused"]
    assert first["host"] == "shop.example:8000"
    assert first["allowed"] == sorted(ALLOWED)
    assert (first["others"], second["others"]) == (0, 4)
    assert len(second["host"]) == 100


@pytest.mark.parametrize("text", [text for name, text, _ in TABLE if name == "ALLOWED_HOSTS"])
async def test_whatever_is_accepted_as_a_host_lets_requests_through(make_settings, text):
    try:
        allowed = make_settings(Settings, allowed_hosts=text).allowed_hosts
    except ValueError:
        return
    for host in allowed:
        for port in ("", ":80", ":8000"):
            assert await status(host.replace("*", "any.example") + port, allowed=allowed) == 200
