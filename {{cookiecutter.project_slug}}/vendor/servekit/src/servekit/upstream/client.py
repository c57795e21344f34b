"""A client of one upstream service, which never costs a request more than the time it has."""

from __future__ import annotations

import asyncio
import functools
import random
import ssl
from collections.abc import Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from math import inf
from time import monotonic, perf_counter
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx2
from structlog.contextvars import get_contextvars

from servekit.context import NotOpen
from servekit.event_log import get_logger
from servekit.resilience.breaker import Breaker
from servekit.resilience.deadlines import remaining
from servekit.resilience.retry_budget import RetryBudget
from servekit.upstream.errors import UpstreamTimeout, UpstreamUnavailable
from servekit.upstream.metrics import UpstreamMetrics

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
UNAVAILABLE = frozenset({502, 503, 504})

SHARE_OF_DEADLINE = 0.9
"""What a call may take of the time that the request has left; the rest is for its answer."""

SILENCE_SECONDS = 0.5
"""Silence shorter than this, in a request that was in a hurry, says nothing of the upstream."""

RETRY_PAUSE_SECONDS = 0.05

CALLERS_FAULT = (httpx2.LocalProtocolError, httpx2.UnsupportedProtocol)
"""A request that HTTP does not allow, or no address: nothing was sent."""

NOT_AGAIN = (*CALLERS_FAULT, httpx2.TimeoutException)
"""What is not tried once more; what took all of its time did not fail at once."""

log = get_logger()


@functools.cache
def tls_context() -> ssl.SSLContext:
    """Return what all clients verify their upstreams with; reading authorities takes 50 ms."""
    import httpcore2  # noqa: F401 - the client would import it with its first call

    return httpx2.create_ssl_context()


class UpstreamBreaker(Breaker):
    """A breaker that tells in the log when it turns, and why: `reason` is the last failure's."""

    reason = ""

    def opened(self) -> None:
        log.warning("upstream_breaker_opened", upstream=self.name, reason=self.reason)

    def closed(self) -> None:
        log.info("upstream_breaker_closed", upstream=self.name)


class Upstream:
    """Calls to `base_url`, in bounded number and time; an empty one calls nobody.

    A call ends within `timeout_seconds` and within the deadline of the request that makes it. At
    most `connections` are under way, the others wait their turn. What fails at once is tried once
    more if the method is idempotent, and for at most a tenth of all calls. Cookies that it sets are
    forgotten, as calls are made for many users; `keep_cookies` sends them with every later call.
    Open it as a context.
    """

    def __init__(  # noqa: PLR0913 - each is a knob of its own
        self,
        name: str,
        base_url: str,
        *,
        metrics: UpstreamMetrics,
        connections: int = 32,
        timeout_seconds: float = 5,
        keep_cookies: bool = False,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self.name = name
        self.breaker = UpstreamBreaker(name)
        self._base_url = base_url
        self._address = urlsplit(base_url).netloc.rpartition("@")[2]
        self._connections = connections
        self._timeout_seconds = timeout_seconds
        self._keep_cookies = keep_cookies
        self._transport = transport
        self._places = asyncio.Semaphore(connections)
        self._metrics = metrics
        self._wait = metrics.wait.labels(name)
        self._retry_budget = RetryBudget(taken=metrics.retries.labels(name))
        metrics.breaker.labels(name).set_function(lambda: self.breaker.state)
        self._client: httpx2.AsyncClient | None = None
        if self.configured:
            tls_context()  # now, before the fork: it takes a worker's loop longer than a request

    @property
    def configured(self) -> bool:
        """Whether there is anybody to call."""
        return bool(self._base_url)

    async def __aenter__(self) -> Self:
        if self.configured:
            self._client = httpx2.AsyncClient(
                base_url=self._base_url,
                cookies=CookieJar() if self._keep_cookies else no_cookies(),
                verify=tls_context(),
                timeout=None,
                limits=httpx2.Limits(
                    max_connections=self._connections,
                    max_keepalive_connections=self._connections,
                    keepalive_expiry=5,  # most servers keep idle connections longer
                ),
                transport=self._transport,
            )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def get(self, path: str, **options: Any) -> httpx2.Response:
        """Return the answer to a GET; see `request`."""
        return await self.request("GET", path, **options)

    async def post(self, path: str, **options: Any) -> httpx2.Response:
        """Return the answer to a POST, such as `json={…}`; see `request`. It is not tried again."""
        return await self.request("POST", path, **options)

    async def put(self, path: str, **options: Any) -> httpx2.Response:
        """Return the answer to a PUT; see `request`."""
        return await self.request("PUT", path, **options)

    async def patch(self, path: str, **options: Any) -> httpx2.Response:
        """Return the answer to a PATCH; see `request`. It is not tried again."""
        return await self.request("PATCH", path, **options)

    async def delete(self, path: str, **options: Any) -> httpx2.Response:
        """Return the answer to a DELETE; see `request`."""
        return await self.request("DELETE", path, **options)

    async def request(self, method: str, path: str, **options: Any) -> httpx2.Response:
        """Return the answer, read whole; `options` are those of httpx2.

        Raises:
            UpstreamTimeout: There was none in time.
            UpstreamUnavailable: There was none, or one that says so (502, 503, 504).
        """
        began = perf_counter()
        result = "cancelled"
        try:
            response = await self._guarded(method, path, options)
            result = "answered"
        except UpstreamUnavailable as error:
            result = "timeout" if isinstance(error, UpstreamTimeout) else "unavailable"
            raise
        else:
            return response
        finally:
            self._metrics.duration.labels(self.name, result).observe(perf_counter() - began)

    async def _guarded(self, method: str, path: str, options: dict[str, Any]) -> httpx2.Response:
        """Make the call in its time, and tell the breaker what came of it."""
        limit = min(self._timeout_seconds, SHARE_OF_DEADLINE * remaining(inf))
        if limit <= 0:
            raise UpstreamTimeout(f"{self.name}: the request has no time left")
        if not self.configured:
            raise UpstreamUnavailable(f"{self.name}: its URL is empty")
        if not self.breaker.allow():
            raise UpstreamUnavailable(f"{self.name} is not called now: {self.breaker.reason}")
        sent, began = False, monotonic()
        try:
            async with asyncio.timeout(limit):
                await self._take_place()
                sent, began = True, monotonic()
                try:
                    response = await self._tried(method, path, options)
                finally:
                    self._places.release()
        except TimeoutError as error:
            silent = sent and limit >= min(SILENCE_SECONDS, self._timeout_seconds)
            reason = f"no answer from {self._address} in {limit:.3g} s"
            self._failed(reason) if silent else self.breaker.abandoned()
            raise UpstreamTimeout(f"{self.name}: {reason}") from error
        except httpx2.TimeoutException as error:  # of a `timeout=` that the caller gave
            waited = monotonic() - began
            reason = f"no answer from {self._address} in {waited:.3g} s"
            self._failed(reason) if waited >= SILENCE_SECONDS else self.breaker.abandoned()
            raise UpstreamTimeout(f"{self.name}: {reason}") from error
        except CALLERS_FAULT:
            self.breaker.abandoned()
            raise
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            reason = f"{self._address}: {str(error) or type(error).__name__}"
            self._failed(reason)
            raise UpstreamUnavailable(f"{self.name}: {reason}") from error
        except BaseException:
            self.breaker.abandoned()
            raise
        if response.status_code in UNAVAILABLE:
            reason = f"{self._address} answered {response.status_code}"
            self._failed(reason)
            raise UpstreamUnavailable(f"{self.name}: {reason}")
        self.breaker.succeeded()
        return response

    def _failed(self, reason: str) -> None:
        self.breaker.reason = reason
        self.breaker.failed()

    async def _take_place(self) -> None:
        began = perf_counter()
        await self._places.acquire()
        self._wait.observe(perf_counter() - began)

    async def _tried(self, method: str, path: str, options: dict[str, Any]) -> httpx2.Response:
        """Send the request, and once more what failed at once."""
        self._retry_budget.earn()
        try:
            response = await self._send(method, path, options)
            if response.status_code not in UNAVAILABLE or not self._may_retry(method, options):
                return response
        except httpx2.TransportError as error:
            if isinstance(error, NOT_AGAIN) or not self._may_retry(method, options):
                raise
        await asyncio.sleep(random.uniform(0, RETRY_PAUSE_SECONDS))  # noqa: S311 - jitter
        return await self._send(method, path, options)

    def _may_retry(self, method: str, options: dict[str, Any]) -> bool:
        # What is read while it is sent may be used up: the rest of it would look like all.
        content, data = options.get("content"), options.get("data")
        whole = isinstance(content, str | bytes | None) and not options.get("files")
        whole = whole and isinstance(data, str | bytes | Mapping | None)
        return method in IDEMPOTENT and whole and self._retry_budget.take()

    async def _send(self, method: str, path: str, options: dict[str, Any]) -> httpx2.Response:
        if self._client is None:
            raise NotOpen(f"The client of {self.name}")
        headers = httpx2.Headers(options.get("headers"))
        if request_id := get_contextvars().get("request_id"):
            headers.setdefault("x-request-id", request_id)
        return await self._client.request(method, path, **(options | {"headers": headers}))


def no_cookies() -> CookieJar:
    """Return a jar that takes nothing: one jar for all users would mix their cookies."""
    return CookieJar(DefaultCookiePolicy(allowed_domains=[]))
