"""What stands around a service: a Redis that is far away, an upstream, a database, clients."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any

from servekit.redis.embedded import EmbeddedServer
from servekit.testing.postgresql import programs, server
from servekit.testing.running_service import reserved_port

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

CHUNK = 65536


class CannotInjectError(Exception):
    """This machine does not allow it; the text says why."""


@contextlib.contextmanager
def in_a_loop(begin: Callable[[], Awaitable[Any]]) -> Iterator[None]:
    """Run an event loop in a thread, in which something was begun."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(_awaited(begin), loop).result(30)
    try:
        yield
    finally:
        asyncio.run_coroutine_threadsafe(cancel_all(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def cancel_all() -> None:
    """End every task of the running loop."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _awaited(begin: Callable[[], Awaitable[Any]]) -> None:
    await begin()


@contextlib.contextmanager
def redis(*, late_by: float = 0.0) -> Iterator[dict[str, str]]:
    """Run a Redis whose answers are late."""
    with EmbeddedServer() as stored, reserved_port() as port:

        async def carry(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pause: float
        ) -> None:
            with contextlib.suppress(OSError):
                while chunk := await reader.read(CHUNK):
                    await asyncio.sleep(pause)
                    writer.write(chunk)
            writer.close()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            inner, outer = await asyncio.open_unix_connection(stored.path)
            with contextlib.suppress(asyncio.CancelledError):  # the end, which streams report
                await asyncio.gather(carry(reader, outer, 0), carry(inner, writer, late_by))

        with in_a_loop(lambda: asyncio.start_server(serve, "127.0.0.1", port)):
            yield {"REDIS_URL": f"redis://127.0.0.1:{port}/0"}


@contextlib.contextmanager
def upstream(*, late_by: float) -> Iterator[dict[str, str]]:
    """Run another service that answers late; its URL is in the variable UPSTREAM."""
    with reserved_port() as port:

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while await reader.readuntil(b"\r\n\r\n"):
                    await asyncio.sleep(late_by)
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            writer.close()

        with in_a_loop(lambda: asyncio.start_server(serve, "127.0.0.1", port)):
            yield {"UPSTREAM": f"http://127.0.0.1:{port}"}


@contextlib.contextmanager
def nobody(variable: str, scheme: str) -> Iterator[dict[str, str]]:
    """Name an address in a variable at which nothing answers."""
    with reserved_port() as port:
        yield {variable: f"{scheme}://127.0.0.1:{port}"}


@contextlib.contextmanager
def postgresql() -> Iterator[dict[str, str]]:
    """Run a PostgreSQL; its URL is in the variable DATABASE."""
    folder = programs()
    if folder is None:
        raise CannotInjectError("PostgreSQL is not installed")
    with server(folder) as url:
        yield {"DATABASE": url}
