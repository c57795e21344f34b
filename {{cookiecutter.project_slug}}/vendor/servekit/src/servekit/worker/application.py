"""The application as a worker sees it: uvicorn's configuration, books, date header and lifespan."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import io
import logging
import signal
import traceback
from typing import TYPE_CHECKING, Any

import uvicorn

from servekit.edge.websockets import make_websocket, websocket_protocol
from servekit.event_log import get_logger
from servekit.foreign import anyio
from servekit.foreign.uvicorn import (
    HttpToolsProtocol,
    LifespanOn,
    no_small_talk,
    renew_default_headers,
)
from servekit.own_code import place_of_error
from servekit.supervisor.program import REASON_CHARACTERS_MAX, TRACE_CHARACTERS_MAX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import ASGIApp

    from servekit.foreign.uvicorn import ServerState

ANY_SIZE = 2**62

log = get_logger()


def import_early(app: ASGIApp) -> None:
    """Import before the fork what every worker would import after it: a third of its start.

    What a first request imports keeps all others waiting.
    """
    for module in ("uvloop", *anyio.LAZY):
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    traceback.print_exception(Exception(), file=io.StringIO())  # Python 3.15 imports colours
    Application(app, keep_alive=1)


def new_event_loop(*, debug: bool = False) -> asyncio.AbstractEventLoop:
    """Return a uvloop where there is one."""
    loop: asyncio.AbstractEventLoop
    try:
        import uvloop  # an extra of uvicorn's, absent on some platforms
    except ImportError:
        loop = asyncio.new_event_loop()
    else:
        loop = uvloop.new_event_loop()
    if debug:  # else it is as PYTHONASYNCIODEBUG says
        loop.set_debug(True)
    return loop


class StartFailedError(Exception):
    """The application's start-up failed; `trace` holds what it raised, `place` where."""

    def __init__(self, trace: str, place: str = "") -> None:
        text = trace.strip()
        self.trace = text[-TRACE_CHARACTERS_MAX:]
        reason = first_line(text)[:REASON_CHARACTERS_MAX] or "no message"
        super().__init__(f"{reason} ({place})" if place else reason)


def first_line(trace: str) -> str:
    """Return the line that names the error: what an error says first is what happened."""
    lines = trace.splitlines()
    heads = [number for number, line in enumerate(lines) if line.startswith("Traceback ")]
    for line in lines[heads[-1] + 1 :] if heads else lines:
        text = line.removeprefix("  | ")  # of a group
        if text[:1].strip():
            return text
    return ""


class Application:
    """Starts, ticks and stops an ASGI application with uvicorn's machinery."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        keep_alive: float,
        message_bytes: int = 0,
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        self.config = uvicorn.Config(
            app,
            http=HttpToolsProtocol,
            interface="asgi3",
            lifespan="on",
            log_config=None,
            log_level=None,  # it would be that of the application's records too
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=int(keep_alive),
            ws_max_size=message_bytes or ANY_SIZE,
        )
        logging.getLogger("uvicorn.error").addFilter(no_small_talk)
        self.config.load()
        # Without the middleware that tells of each message where the root logger's level is 0.
        self.config.loaded_app = app
        make = self.config.ws_protocol_class
        if make is not None:
            ours: Any = functools.partial(make_websocket, websocket_protocol(make), headers)
            self.config.ws_protocol_class = ours
        self._server = uvicorn.Server(self.config)

    @property
    def state(self) -> ServerState:
        """Connections, tasks and totals."""
        return self._server.server_state

    @property
    def lifespan_state(self) -> dict[str, Any]:
        """What the application's lifespan put into the state of each request."""
        return self._lifespan.state

    async def start(self) -> None:
        """Run the application's start-up.

        Raises:
            StartFailedError: It failed.
        """
        self._lifespan = Lifespan(self.config)
        await self._lifespan.startup()
        if self._lifespan.should_exit:
            raise StartFailedError(self._lifespan.failure, self._lifespan.place)
        await self.tick()

    async def tick(self) -> None:
        """Renew the date header; once a second."""
        await renew_default_headers(self._server)

    def announce_end(self) -> None:
        """Tell libraries that end their streams with uvicorn's server, such as sse-starlette."""
        self._server.handle_exit(signal.SIGTERM, None)

    async def fails(self) -> str:
        """Wait until the application's lifespan fails while it serves, and return the trace.

        One that returns early has nothing to end, and is none.
        """
        await self._lifespan.shutdown_event.wait()
        if not self._lifespan.failure:
            await asyncio.get_running_loop().create_future()
        return self._lifespan.failure

    async def stop(self) -> None:
        """Run the application's shutdown."""
        await self._lifespan.shutdown()
        if self._lifespan.failure:
            log.error("shutdown_failed", trace=self._lifespan.failure)


class Lifespan(LifespanOn):
    """uvicorn's lifespan that keeps the reason of a failed start instead of logging it."""

    failure = ""
    place = ""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        # What it says in three lines, the supervisor says in one with the reason.
        self.logger = logging.getLogger("uvicorn.lifespan")
        self.logger.setLevel(logging.CRITICAL)

    async def main(self) -> None:
        try:
            scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}}
            app: Any = self.config.loaded_app
            await app(scope | {"state": self.state}, self.receive, self.send)
        except BaseException as error:  # noqa: BLE001 - whatever stops the start is the reason to report
            self.error_occurred = True
            self.place = place_of_error(error)
            self.failure = self.failure or traceback.format_exc()
        finally:
            self.startup_event.set()
            self.shutdown_event.set()

    async def send(self, message: Any) -> None:
        if message["type"].endswith(".failed"):
            self.failure = message.get("message") or "the application gave no reason"
            message = message | {"message": ""}
        await super().send(message)
