import asyncio
import contextlib
import ssl

import httpx2
import pytest
from prometheus_client import CollectorRegistry

from servekit.layers.request_id import bound_request_id
from servekit.resilience.breaker import CLOSED, OPEN
from servekit.resilience.deadlines import Deadline, current_deadline
from servekit.testing import patience
from servekit.upstream.client import Upstream
from servekit.upstream.errors import UpstreamTimeout, UpstreamUnavailable
from servekit.upstream.metrics import UpstreamMetrics


class Neighbour(httpx2.AsyncBaseTransport):
    """Answers what its script says, one word a call and the last one for ever."""

    def __init__(self, *script):
        self.script = list(script)
        self.requests = []
        self.active = self.most_active = 0

    async def handle_async_request(self, request):
        self.requests.append(request)
        word = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        self.active += 1
        self.most_active = max(self.most_active, self.active)
        try:
            await asyncio.sleep(60 if word == "silent" else 0.001)
        finally:
            self.active -= 1
        if word == "refused":
            raise httpx2.ConnectError("refused")
        if isinstance(word, dict):
            return httpx2.Response(302 if "location" in word else 200, headers=word)
        return httpx2.Response(word)


def make(*script, registry=None, **options):
    neighbour = Neighbour(*script)
    metrics = UpstreamMetrics(registry or CollectorRegistry())
    upstream = Upstream("x", "http://x", metrics=metrics, transport=neighbour, **options)
    return upstream, neighbour


@contextlib.contextmanager
def deadline(seconds):
    token = current_deadline.set(Deadline(seconds))
    yield
    current_deadline.reset(token)


async def test_an_answer_is_returned_whatever_it_says_but_that_nobody_is_there():
    upstream, _ = make(200, 404, 500, 503)
    async with upstream:
        statuses = [(await upstream.get("/")).status_code for _ in range(3)]
        with pytest.raises(UpstreamUnavailable):
            await upstream.request("POST", "/")

    assert statuses == [200, 404, 500]


async def test_without_an_address_nobody_is_called():
    upstream = Upstream("x", "", metrics=UpstreamMetrics(CollectorRegistry()))
    async with upstream:
        assert not upstream.configured
        with pytest.raises(UpstreamUnavailable):
            await upstream.get("/")


async def test_a_call_ends_while_its_request_still_has_time_to_answer():
    upstream, _ = make("silent")
    loop = asyncio.get_running_loop()
    async with upstream:
        with deadline(2):
            began = loop.time()
            with pytest.raises(UpstreamTimeout):
                await upstream.get("/")
            took = loop.time() - began

    assert 1.6 <= took < patience(2)


async def test_a_request_without_time_calls_nobody():
    upstream, neighbour = make(200)
    async with upstream:
        with deadline(0.01):
            await asyncio.sleep(0.02)
            with pytest.raises(UpstreamTimeout):
                await upstream.get("/")

    assert neighbour.requests == []


async def test_calls_over_the_limit_wait_their_turn():
    upstream, neighbour = make(200, connections=3)
    async with upstream:
        await asyncio.gather(*(upstream.get("/") for _ in range(20)))

    assert neighbour.most_active == 3


async def test_what_failed_at_once_is_tried_once_more_and_only_if_that_cannot_do_it_twice():
    upstream, neighbour = make("refused", 200)
    async with upstream:
        assert (await upstream.get("/")).status_code == 200
    assert len(neighbour.requests) == 2

    upstream, neighbour = make("refused", 200)
    async with upstream:
        with pytest.raises(UpstreamUnavailable):
            await upstream.request("POST", "/")
    assert len(neighbour.requests) == 1


async def test_retries_are_at_most_a_tenth_of_the_calls():
    upstream, neighbour = make(*([503, 200] * 500))
    upstream.breaker._limit = 10**9
    async with upstream:
        for _ in range(100):
            with contextlib.suppress(UpstreamUnavailable):
                await upstream.get("/")

    assert 100 < len(neighbour.requests) <= 111


async def test_five_failures_in_a_row_open_the_breaker_and_an_answer_closes_it():
    upstream, neighbour = make("refused", "refused", "refused", "refused", "refused", 200)
    async with upstream:
        for _ in range(5):
            with pytest.raises(UpstreamUnavailable):
                await upstream.request("POST", "/")
        assert upstream.breaker.state == OPEN
        with pytest.raises(UpstreamUnavailable):
            await upstream.get("/")
        assert len(neighbour.requests) == 5
        upstream.breaker.probe_soon()
        assert (await upstream.get("/")).status_code == 200

    assert upstream.breaker.state == CLOSED


async def test_a_hurried_request_does_not_open_it():
    upstream, _ = make("silent")
    async with upstream:
        for _ in range(6):
            with deadline(0.01), pytest.raises(UpstreamTimeout):
                await upstream.get("/")

    assert upstream.breaker.state == CLOSED


async def test_silence_opens_it():
    upstream, _ = make("silent", timeout_seconds=0.02)
    async with upstream:
        for _ in range(5):
            with pytest.raises(UpstreamTimeout):
                await upstream.get("/")

    assert upstream.breaker.state == OPEN


async def test_a_cancelled_caller_gives_its_place_back():
    upstream, neighbour = make("silent", 200, connections=1)
    async with upstream:
        caller = asyncio.create_task(upstream.get("/"))
        while not neighbour.active:  # noqa: ASYNC110 - the transport has no event
            await asyncio.sleep(0)
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)

        assert (await upstream.get("/")).status_code == 200
    assert neighbour.active == 0


async def test_the_request_id_goes_along():
    upstream, neighbour = make(200)
    async with upstream:
        token = bound_request_id.set("abc")
        await upstream.get("/", headers={"accept": "application/json"})
        bound_request_id.reset(token)

    assert neighbour.requests[0].headers["x-request-id"] == "abc"
    assert neighbour.requests[0].headers["accept"] == "application/json"


@pytest.mark.parametrize("location", [{}, {"location": "/elsewhere"}])
@pytest.mark.parametrize("domain", ["", "; Domain=x.test", "; Domain=.test; Path=/deep"])
async def test_a_cookie_that_one_call_was_given_goes_out_with_no_other(domain, location):
    """One client serves all users: a jar would send one's cookie with the next one's call."""
    upstream, neighbour = make({"set-cookie": f"user=ada{domain}"} | location, 200)
    upstream._base_url = "http://x.test"
    async with upstream:
        await upstream.get("/", follow_redirects=True)
        await upstream.get("/")
        await upstream.get("/deep/", headers={"cookie": "user=eve"})

    sent = [request.headers.get("cookie") for request in neighbour.requests]
    assert sent == [None] * (len(sent) - 1) + ["user=eve"]


async def test_cookies_are_kept_where_that_is_asked_for():
    upstream, neighbour = make({"set-cookie": "service=ours"}, 200, keep_cookies=True)
    async with upstream:
        await upstream.get("/")
        await upstream.get("/")

    assert neighbour.requests[1].headers["cookie"] == "service=ours"


async def test_calls_are_counted_by_how_they_ended():
    registry = CollectorRegistry()
    upstream, _ = make(200, "refused", 503, 503, registry=registry)
    async with upstream:
        await upstream.get("/")
        with pytest.raises(UpstreamUnavailable):
            await upstream.get("/")

    def value(name, **labels):
        return registry.get_sample_value(name, {"upstream": "x", **labels})

    assert value("upstream_request_duration_seconds_count", result="answered") == 1
    assert value("upstream_request_duration_seconds_count", result="unavailable") == 1
    assert value("upstream_pool_wait_seconds_count") == 2
    assert value("upstream_retries_total") == 1
    assert value("upstream_breaker_state") == CLOSED


class Faulty(httpx2.AsyncBaseTransport):
    def __init__(self, error):
        self.error = error
        self.calls = 0

    async def handle_async_request(self, request):
        self.calls += 1
        if isinstance(self.error, Exception):
            raise self.error
        return httpx2.Response(200, headers={"content-encoding": "gzip"}, content=b"no gzip")


@pytest.mark.parametrize(
    ("error", "raised", "counts"),
    [
        (httpx2.LocalProtocolError("Illegal header value"), httpx2.LocalProtocolError, False),
        (httpx2.UnsupportedProtocol("no protocol"), httpx2.UnsupportedProtocol, False),
        (httpx2.ReadTimeout("of the caller's timeout="), UpstreamTimeout, False),
        ("a coding that is none", UpstreamUnavailable, True),
        (httpx2.RemoteProtocolError("no HTTP"), UpstreamUnavailable, True),
        (httpx2.ReadError("reset"), UpstreamUnavailable, True),
    ],
)
async def test_only_faults_of_the_upstream_open_its_breaker_and_all_have_their_name(
    error, raised, counts
):
    transport = Faulty(error)
    metrics = UpstreamMetrics(CollectorRegistry())
    async with Upstream("x", "http://x", metrics=metrics, transport=transport) as upstream:
        for _ in range(10):
            with pytest.raises(raised):
                await upstream.get("/")
        assert (upstream.breaker.state == OPEN) == counts
        if raised not in {UpstreamTimeout, UpstreamUnavailable}:
            assert transport.calls == 10, "it is not tried again"


async def test_silence_past_a_callers_own_limit_opens_the_breaker_if_it_was_no_hurry():
    async def deaf(reader, writer):
        await reader.read()
        writer.close()

    server = await asyncio.start_server(deaf, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    metrics = UpstreamMetrics(CollectorRegistry())
    async with server, Upstream("x", address, metrics=metrics) as upstream:
        for seconds, state in ((0.05, CLOSED), (0.6, OPEN)):
            calls = [upstream.get("/", timeout=seconds) for _ in range(6)]
            for error in await asyncio.gather(*calls, return_exceptions=True):
                assert isinstance(error, UpstreamTimeout)
            assert upstream.breaker.state == state


@pytest.mark.parametrize("method", ["get", "post", "put", "patch", "delete"])
async def test_each_method_has_its_name(method):
    upstream, neighbour = make(200)
    async with upstream:
        answer = await getattr(upstream, method)("/a", headers={"a": "b"})
    assert answer.status_code == 200
    assert neighbour.requests[0].method == method.upper()


async def test_a_workers_loop_reads_no_authorities(monkeypatch):
    """They are read where the upstream is made: before the fork, and once."""
    metrics = UpstreamMetrics(CollectorRegistry())
    upstream = Upstream("x", "https://x", metrics=metrics)
    monkeypatch.setattr(httpx2, "create_ssl_context", lambda *_, **__: 1 / 0)
    monkeypatch.setattr(ssl, "create_default_context", lambda *_, **__: 1 / 0)
    async with upstream:
        assert upstream.configured


async def test_fields_that_are_given_twice_are_sent_twice():
    upstream, neighbour = make(200)
    async with upstream:
        await upstream.get("/", headers=[("accept", "a"), ("accept", "b")])
        await upstream.get("/", headers={"x-request-id": "own"})
    first, second = neighbour.requests
    assert first.headers.get_list("accept") == ["a", "b"]
    assert second.headers.get_list("x-request-id") == ["own"]
