"""What is not sent a second time: a body that is used up, and what took all of its time."""

import httpx2
import pytest
from prometheus_client import CollectorRegistry

from servekit.upstream.client import Upstream
from servekit.upstream.errors import UpstreamUnavailable
from servekit.upstream.metrics import UpstreamMetrics
from tests.upstream.test_client import make


async def pieces():
    yield b"one "
    yield b"two"


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
@pytest.mark.parametrize(
    ("options", "calls"),
    [
        ({"content": b"one two"}, 2),
        ({"content": "one two"}, 2),
        ({"json": {"a": 1}}, 2),
        ({"data": {"a": "1"}}, 2),
        ({"content": pieces()}, 1),
        ({"data": pieces()}, 1),
        ({"files": {"a": b"one two"}}, 1),
    ],
)
async def test_a_body_that_is_read_as_it_is_sent_is_not_sent_twice(options, calls):
    upstream, neighbour = make(503, 200)
    async with upstream:
        if calls == 1:
            with pytest.raises(UpstreamUnavailable):
                await upstream.put("/", **options)
        else:
            assert (await upstream.put("/", **options)).status_code == 200
    assert len(neighbour.requests) == calls


@pytest.mark.parametrize("error", [httpx2.ReadTimeout, httpx2.ConnectTimeout, httpx2.WriteTimeout])
async def test_what_took_all_of_its_time_is_not_tried_again(error):
    calls = []

    class Silent(httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request):
            calls.append(request)
            raise error("late", request=request)

    metrics = UpstreamMetrics(CollectorRegistry())
    async with Upstream("x", "http://x", metrics=metrics, transport=Silent()) as upstream:
        with pytest.raises(UpstreamUnavailable):
            await upstream.put("/", timeout=0.1)
    assert len(calls) == 1
