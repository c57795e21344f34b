"""A worker: the application behind the front door, from its first breath to its last answer."""

from __future__ import annotations

import asyncio
import faulthandler
import os
import signal
import socket
import traceback
from typing import TYPE_CHECKING, Any

import structlog

from servekit.edge.board import Board
from servekit.edge.connections import Connections
from servekit.edge.cycle import COMMON_HEADERS, HeadWriter
from servekit.edge.listeners import Listener
from servekit.edge.patience import SWEEP_SECONDS
from servekit.edge.protocol import FrontDoor
from servekit.edge.refusals import refusals
from servekit.edge.rules import Rules
from servekit.workers.application import Application, StartFailedError
from servekit.workers.channel import Channel
from servekit.workers.file_limit import connection_limit
from servekit.workers.stacks import task_stacks

if TYPE_CHECKING:
    from collections.abc import Callable

    from servekit.workers.order import WorkerOrder
    from servekit.workers.program import Command, Program

BEAT_SECONDS = 1.0
ORPHAN_SECONDS = 0.5
TERMINAL_SIGNALS = (signal.SIGINT, signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU)

log = structlog.get_logger()


def ignore_terminal_signals() -> None:
    """Leave to the supervisor what a terminal sends to the whole process group."""
    for number in TERMINAL_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def run_worker(program: Program, order: WorkerOrder) -> int:
    """Serve until told to stop, and return the exit code."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # Written by the C handler: it works while Python code blocks the loop.
    faulthandler.register(signal.SIGUSR1, file=order.stacks, all_threads=True)
    os.environ["WORKER_SLOT"] = str(order.slot)
    program.enter_worker(order.slot)
    loop = new_event_loop()
    asyncio.set_event_loop(loop)
    # The loop stays open: the process ends right after, and a stuck thread must not hold it.
    return loop.run_until_complete(Worker(program, order).run())


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return a uvloop where there is one."""
    try:
        import uvloop  # an extra of uvicorn's, absent on some platforms
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


class Worker:
    """One process of the service, under orders that come over its channel."""

    def __init__(self, program: Program, order: WorkerOrder) -> None:
        self._program = program
        self._order = order
        self._limits = order.limits
        self._application = Application(program.asgi, keep_alive=order.limits.keep_alive_seconds)
        self._connections = Connections(self._application.state)
        self._commands: dict[str, Command] = {
            "stacks": self._stacks,
            "requests": self._requests,
            **program.commands,
        }
        self._rules = Rules(
            order.limits,
            refusals(program.error_headers),
            HeadWriter([*program.error_headers, *COMMON_HEADERS]),
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._listeners: list[Listener] = []

    async def run(self) -> int:
        """Start, serve, drain, close; the exit code is 0 unless the application failed."""
        self._loop = asyncio.get_running_loop()
        self._channel = await Channel.open(socket.socket(fileno=self._order.channel))
        self._farewell: asyncio.Future[dict[str, Any]] = self._loop.create_future()
        self._loop.add_signal_handler(signal.SIGTERM, self._end, self._default_drain())
        self._spawn(self._obey())
        start = self._loop.create_task(self._start())
        both: list[asyncio.Future[Any]] = [start, self._farewell]
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not start.done():
            return 0
        if start.exception() is not None:
            return await self._give_up(start.exception())
        await self._drain(await self._farewell)
        return await self._close()

    async def _start(self) -> None:
        await self._application.start()
        board = Board(self._order.board)
        for fd in self._order.listeners:
            listener = Listener(
                socket.socket(fileno=os.dup(fd)),
                self._open_door,
                cell=board.cell(self._order.cell),
                limit=connection_limit(self._limits.connections),
                connections=self._connections.count,
            )
            self._listeners.append(listener)
            listener.open()
        self._program.draining.set_ready()
        self._channel.send({"event": "ready"})
        self._spawn(self._beat())
        self._spawn(self._sweep())

    def _open_door(self, listener: Listener) -> FrontDoor:
        return FrontDoor(
            self._application.config,
            self._application.state,
            self._application.lifespan_state,
            self._loop,
            rules=self._rules,
            listener=listener,
        )

    async def _give_up(self, error: BaseException | None) -> int:
        reason = str(error) if isinstance(error, StartFailedError) else repr(error)
        trace = "".join(traceback.format_exception(error))
        if isinstance(error, StartFailedError):
            trace = error.trace
        self._channel.send({"event": "failed", "reason": reason, "trace": trace})
        await self._channel.flush()
        return 1

    # Every second, and every half

    async def _beat(self) -> None:
        while True:
            status = {
                "connections": self._connections.count(),
                "requests": self._connections.requests_total,
                "running": len(self._application.state.tasks),
                **self._program.status(),
            }
            self._channel.send({"event": "beat", "status": status})
            await self._application.tick()
            await asyncio.sleep(BEAT_SECONDS)

    async def _sweep(self) -> None:
        period = min(SWEEP_SECONDS, self._limits.header_seconds / 8)
        while True:
            await asyncio.sleep(period)
            self._connections.check_patience(self._loop.time())
            if any(listener.full for listener in self._listeners):
                self._connections.make_room(self._loop.time())
            for listener in self._listeners:
                listener.connection_closed()

    # Orders

    async def _obey(self) -> None:
        while (message := await self._channel.receive()) is not None:
            order, _ = message
            if order["order"] == "drain":
                self._end(order)
            else:
                self._spawn(self._answer(order))
        # The supervisor is gone: nobody would notice if this worker hung from now on.
        orphaned = {"delay": 0, "seconds": ORPHAN_SECONDS, "reason": "orphaned"}
        self._end(self._default_drain() | orphaned)

    async def _answer(self, order: dict[str, Any]) -> None:
        answer = {"event": "answer", "id": order["id"], "ok": True}
        try:
            body = await self._commands[order["command"]](order["arguments"])
        except Exception as error:
            known = isinstance(error, (KeyError, ValueError))
            log.warning("command_failed", command=order["command"], exc_info=not known)
            answer["ok"], body = False, f"{type(error).__name__}: {error}".encode()
        self._channel.send(answer, body)

    def _end(self, order: dict[str, Any]) -> None:
        if not self._farewell.done():
            self._farewell.set_result(order)

    def _default_drain(self) -> dict[str, Any]:
        return {
            "accept": True,
            "delay": self._limits.drain_delay_seconds,
            "seconds": self._limits.drain_seconds,
        }

    async def _drain(self, order: dict[str, Any]) -> None:
        """Announce the end, let the news spread, stop accepting, finish, cancel the rest."""
        self._program.draining.begin()
        self._run_hook(self._program.begin_drain, order.get("reason", "signal"))
        self._channel.send({"event": "draining"})
        if not order["accept"]:
            self._stop_accepting()
        await asyncio.sleep(order["delay"])
        self._stop_accepting()
        for listener in self._listeners:
            await listener.sweep() if order["accept"] else None
        self._connections.end_streams()
        if not await self._connections.finish(order["seconds"]):
            log.warning("requests_cancelled", requests=self._connections.running())
            await self._connections.cancel()

    def _run_hook(self, hook: Callable[..., None], *arguments: str) -> None:
        """Call a function of the application's, which must not keep a worker from its end."""
        try:
            hook(*arguments)
        except Exception:
            log.exception("hook_failed")

    def _stop_accepting(self) -> None:
        for listener in self._listeners:
            listener.close()

    async def _close(self) -> int:
        try:
            async with asyncio.timeout(self._limits.close_seconds):
                await self._application.stop()
        except TimeoutError:
            log.error(  # noqa: TRY400 - a trace of our own waiting tells nothing
                "shutdown_timed_out", seconds=self._limits.close_seconds
            )
            return 1
        self._run_hook(self._program.leave_worker)
        log.info("worker_stopped", requests=self._connections.requests_total)
        await self._channel.flush()
        return 0

    # What anybody may ask

    async def _stacks(self, _arguments: dict[str, Any]) -> bytes:
        return task_stacks().encode()

    async def _requests(self, _arguments: dict[str, Any]) -> bytes:
        return "\n".join(self._connections.running()).encode()

    def _spawn(self, coroutine: Any) -> None:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
