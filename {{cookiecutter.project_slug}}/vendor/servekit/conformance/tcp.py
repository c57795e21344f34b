"""A plugin of pytest: test clients send their HTTP requests over TCP, to a server in this process.

A WebSocket, and an application's lifespan, are called in the server's event loop.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import socket
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import anyio.from_thread
import httpx2
import uvicorn
from anyio.from_thread import BlockingPortal
from starlette import testclient
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http import httptools_impl

from servekit.scope import IN_WORKER

NAME = b"x-conformance-exchange"
SECONDS = 30

in_process = testclient._TestClientTransport.handle_request  # noqa: SLF001 - the place of what is replaced
start_portal = anyio.from_thread.start_blocking_portal
open_until_the_end = contextlib.ExitStack()
numbers = itertools.count()
exchanges: dict[bytes, Exchange] = {}


class Exchange:
    """One request: what the client's transport adds to its scope, and how the application ended."""

    def __init__(self, transport: Any, scheme: str) -> None:
        self.transport = transport
        self.scheme = scheme
        self.end: Future[BaseException | None] = Future()

    async def run(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application, with a scope as a test client makes it."""
        transport = self.transport
        scope.pop(IN_WORKER, None)  # this client wants to see errors
        headers = [field for field in scope["headers"] if field[0] != NAME]
        scope.update(
            client=transport.client,
            scheme=self.scheme,
            root_path=transport.root_path,
            headers=headers,
            state=transport.app_state.copy(),
        )

        try:
            await transport.app(scope, receive, send)
        except BaseException as error:
            self.end.set_result(error)
            raise
        self.end.set_result(None)

    def raise_if_wanted(self) -> None:
        """Raise, as a test client does, what the application let pass; wait until it has ended."""
        error = self.end.result(SECONDS)
        if isinstance(error, Exception) and self.transport.raise_server_exceptions:
            raise error


class Body(httpx2.SyncByteStream):
    """The body of an answer, whose end is also the application's."""

    def __init__(self, answer: httpx2.Response, exchange: Exchange) -> None:
        self.answer = answer
        self.exchange = exchange

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self.answer.iter_raw()
        except httpx2.TransportError:
            self.exchange.raise_if_wanted()
            raise

    def close(self) -> None:
        self.answer.close()
        self.exchange.raise_if_wanted()


async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request by the application of the client that sent it."""
    exchange = exchanges.pop(dict(scope["headers"])[NAME])
    await exchange.run(scope, receive, send)


@functools.cache
def loop_of_server() -> BlockingPortal:
    """Return the way into the event loop of the server's thread."""
    portal = open_until_the_end.enter_context(start_portal("asyncio"))
    open_until_the_end.callback(portal.start_task_soon, portal.stop, True)
    return portal


@functools.cache
def client() -> tuple[httpx2.Client, int]:
    """Return a client of this process's server, and the port."""
    listener = open_until_the_end.enter_context(socket.create_server(("127.0.0.1", 0)))
    config = uvicorn.Config(
        dispatch_app(),
        http=httptools_impl.HttpToolsProtocol,
        lifespan="off",
        log_config=None,
        proxy_headers=False,
        server_header=False,
        date_header=False,
    )
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined] # not of this process
    loop_of_server().start_task_soon(functools.partial(server._serve, [listener]))  # noqa: SLF001 - without signals
    limits = httpx2.Limits(max_keepalive_connections=0)
    return httpx2.Client(limits=limits, timeout=SECONDS, trust_env=False), listener.getsockname()[1]


def dispatch_app() -> ASGIApp:
    """Return what the server calls."""
    return dispatch


def over_tcp(transport: Any, request: httpx2.Request) -> httpx2.Response:
    """Send a request of a test client to the server, and return the answer."""
    if request.url.scheme in {"ws", "wss"}:
        answer: httpx2.Response = in_process(transport, request)
        return answer
    sender, port = client()
    name = b"%d" % next(numbers)
    exchange = exchanges[name] = Exchange(transport, request.url.scheme)
    sent = httpx2.Request(
        request.method,
        request.url.copy_with(scheme="http", host="127.0.0.1", port=port),
        headers=[*request.headers.raw, (NAME, name)],
        content=request.read(),
    )
    received = sender.send(sent, stream=True)
    if exchanges.pop(name, None) is not None:  # the server has answered by itself
        exchange.end.set_result(None)
    body = Body(received, exchange)
    return httpx2.Response(
        received.status_code, headers=received.headers.raw, stream=body, request=request
    )


@contextlib.contextmanager
def portal_of_server(backend: str = "asyncio", **options: Any) -> Iterator[BlockingPortal]:
    """Give test clients the server's event loop, in which all that they start runs together."""
    if backend == "asyncio" and not options.get("backend_options"):
        yield loop_of_server()
    else:
        with start_portal(backend, **options) as portal:
            yield portal


def pytest_configure() -> None:
    """Take the place of what calls applications in the process."""
    transport: Any = testclient._TestClientTransport  # noqa: SLF001 - the one that calls applications
    transport.handle_request = over_tcp
    anyio.from_thread.start_blocking_portal = portal_of_server  # type: ignore[assignment] # the same


def pytest_unconfigure() -> None:
    """End the server's thread."""
    open_until_the_end.close()
