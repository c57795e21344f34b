"""A worker: the application behind its connections, from its start to its last answer."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import json
import os
import signal
import socket
from typing import TYPE_CHECKING, Any

from servekit import signals
from servekit.background import Background, until_one
from servekit.children import end_children
from servekit.edge.connection_counts import ConnectionCounts
from servekit.edge.connections import Connections
from servekit.edge.limits import connection_limit
from servekit.edge.listeners import Listener, until_refused
from servekit.edge.options import ProtocolOptions, cycle_factory
from servekit.edge.protocol import HttpProtocol
from servekit.edge.refusals import Refusals
from servekit.edge.timeouts import SWEEP_SECONDS
from servekit.event_log import get_logger
from servekit.interpreter import has_debugger
from servekit.supervisor.channel import Channel
from servekit.supervisor.program import failure_of
from servekit.worker.application import Application, StartFailedError, new_event_loop
from servekit.worker.stacks import OLDEST, all_stacks, running_requests

if TYPE_CHECKING:
    from collections.abc import Callable

    from servekit.supervisor.program import Assignment, Command, Program

HEARTBEAT_SECONDS = 1.0
ORPHAN_SECONDS = 0.5

log = get_logger()


def run_worker(program: Program, assignment: Assignment) -> int:
    """Serve until told to stop, and return the exit code."""
    signals.ignore(signal.SIGINT, signal.SIGHUP, signal.SIGTERM)
    # Written by the C handler: it works while Python code blocks the loop.
    faulthandler.register(signal.SIGUSR1, file=assignment.stacks, all_threads=True)
    signals.release()
    os.environ["WORKER_SLOT"] = str(assignment.slot)
    try:
        try:
            program.enter_worker(assignment.slot)
            if assignment.log_level:
                program.set_log_level(assignment.log_level)
            loop = new_event_loop(debug=program.debug)
        except BaseException as error:  # noqa: BLE001 - whatever a hook raises is the reason
            assignment.report_failure(error)
            return 1
        asyncio.set_event_loop(loop)
        # The loop stays open: the process ends right after, and a stuck thread must not hold it.
        return loop.run_until_complete(Worker(program, assignment).run())
    finally:
        end_children()


class Worker:
    """One process of the service, told what to do over its channel."""

    def __init__(self, program: Program, assignment: Assignment) -> None:
        self._program = program
        self._assignment = assignment
        self._limits = assignment.limits
        self._application = Application(
            program.asgi,
            keep_alive=assignment.limits.keep_alive_seconds,
            message_bytes=assignment.limits.message_bytes,
            headers=program.error_headers,
        )
        self._connections = Connections(self._application.state, self._limits)
        self._commands: dict[str, Command] = {
            "stacks": self._stacks,
            "requests": self._requests,
            "vitals": self._vitals,
            **program.commands,
        }
        self._options = ProtocolOptions(
            assignment.limits,
            Refusals(program.error_headers, program.count_refusal, assignment.limits),
            cycle_factory(program.error_headers),
            program.headers_for,
            program.instant,
        )
        self._tasks = Background()
        self._status_failed = False
        self._listeners: list[Listener] = []

    async def run(self) -> int:
        """Start, serve, drain, close; the exit code is 0 unless the application failed."""
        try:
            code, failed = await self._serve()
        finally:
            self._run_hook(self._program.leave_worker)
        if failed:
            await self._report_failed_start(failed)  # the supervisor kills who says so
        return code

    async def _serve(self) -> tuple[int, BaseException | None]:
        """Return the exit code, and why the start failed if it did."""
        self._loop = asyncio.get_running_loop()
        self._channel = await Channel.open(socket.socket(fileno=self._assignment.channel))
        self._drain_requested: asyncio.Future[dict[str, Any]] = self._loop.create_future()
        self._loop.add_signal_handler(
            signal.SIGTERM, self._request_drain, self._default_drain_request()
        )
        self._program.listen(self._note)
        self._tasks.keep(self._receive_requests)
        start = self._loop.create_task(self._start())
        await until_one(start, self._drain_requested)
        if not start.done():
            return 0, None
        if (error := start.exception()) is not None:
            return 1, error
        failing = self._loop.create_task(self._application.fails())
        await until_one(failing, self._drain_requested)
        if not self._drain_requested.done():
            await self._give_up(failing.result())
            return 1, None
        failing.cancel()
        await self._drain(await self._drain_requested)
        return await self._close(), None

    async def _give_up(self, trace: str) -> None:
        """End soon: what the application opened is closed already, and all would fail."""
        log.error("lifespan_failed", trace=trace)
        self._stop_accepting()
        await self._connections.finish(ORPHAN_SECONDS)
        await self._channel.flush()

    async def _start(self) -> None:
        await self._application.start()
        counts = ConnectionCounts(self._assignment.counts)
        for fd in self._assignment.listeners:
            listener = Listener(
                socket.socket(fileno=os.dup(fd)),
                self._make_protocol,
                own_count=counts.own_count(self._assignment.count_entry),
                limit=connection_limit(self._limits.connections),
                open_connections=self._connections.count,
            )
            self._listeners.append(listener)
            listener.open()
        self._program.draining.set_ready()
        self._channel.send({"event": "ready"})
        self._tasks.keep(self._send_heartbeats)
        self._tasks.keep(self._check_connections)

    def _make_protocol(self, listener: Listener) -> HttpProtocol:
        return HttpProtocol(
            self._application.config,
            self._application.state,
            self._application.lifespan_state,
            self._loop,
            options=self._options,
            listener=listener,
        )

    async def _report_failed_start(self, error: BaseException) -> None:
        reason, trace = failure_of(error)
        if isinstance(error, StartFailedError):
            reason, trace = str(error), error.trace
        self._channel.send({"event": "failed", "reason": reason, "trace": trace})
        await self._channel.flush()

    # Every second, and every half

    async def _send_heartbeats(self) -> None:
        while True:
            status = {
                "connections": self._connections.count(),
                "requests": self._connections.requests_total,
                "running": len(self._application.state.tasks),
                "debugger": has_debugger(),
                **self._own_status(),
            }
            self._channel.send({"event": "heartbeat", "status": status})
            await self._application.tick()
            await asyncio.sleep(HEARTBEAT_SECONDS)

    def _own_status(self) -> dict[str, float | int | None]:
        """Return what the application adds; should that fail, the worker is no less alive."""
        try:
            return self._program.status()
        except Exception:
            if not self._status_failed:
                log.exception("status_failed")
            self._status_failed = True
            return {}

    async def _check_connections(self) -> None:
        period = min(SWEEP_SECONDS, self._limits.header_seconds / 8)
        while True:
            await asyncio.sleep(period)
            self._connections.check_timeouts(self._loop.time())
            if any(listener.full for listener in self._listeners):
                self._connections.make_room(self._loop.time())
            for listener in self._listeners:
                listener.connection_closed()

    def _note(self, entry: dict[str, Any]) -> None:
        """Tell the supervisor of an event, from whatever thread it was logged in."""
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._channel.send, {"event": "noted", "entry": entry})

    # What the supervisor asks

    async def _receive_requests(self) -> None:
        while (message := await self._channel.receive()) is not None:
            request, _ = message
            match request["request"]:
                case "drain":
                    self._request_drain(request)
                case "log_level":
                    self._program.set_log_level(request["level"])
                case _:
                    self._tasks.spawn(self._answer(request))
        # The supervisor is gone: nobody would notice if this worker hung from now on.
        orphaned = {"delay": 0, "seconds": ORPHAN_SECONDS, "reason": "orphaned"}
        self._request_drain(self._default_drain_request() | orphaned)

    async def _answer(self, request: dict[str, Any]) -> None:
        answer = {"event": "answer", "id": request["id"]}
        try:
            body = await self._commands[request["command"]](request["arguments"])
            self._channel.send(answer | {"ok": True}, body)
        except Exception as error:
            known = isinstance(error, (KeyError, ValueError))
            log.warning("command_failed", command=request["command"], exc_info=not known)
            reason = f"{type(error).__name__}: {error}".encode()
            self._channel.send(answer | {"ok": False}, reason)

    def _request_drain(self, request: dict[str, Any]) -> None:
        if not self._drain_requested.done():
            self._drain_requested.set_result(request)

    def _default_drain_request(self) -> dict[str, Any]:
        delay, seconds = self._limits.drain_delay_seconds, self._limits.drain_seconds
        return {"accept": True, "delay": delay, "seconds": seconds}

    async def _drain(self, request: dict[str, Any]) -> None:
        """Announce the end, let the news spread, stop accepting, finish, cancel the rest."""
        self._program.draining.begin()
        self._run_hook(self._program.begin_drain, request.get("reason", "signal"))
        self._channel.send({"event": "draining"})
        if not request["accept"]:
            self._stop_accepting()
        await asyncio.sleep(request["delay"])
        if request.get("refused"):
            await until_refused(self._listeners)
        self._stop_accepting()
        for listener in self._listeners:
            await (listener.accept_backlog() if request["accept"] else listener.opened())
        self._application.announce_end()
        if not await self._connections.finish(request["seconds"]):
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
            log.error("shutdown_timed_out", seconds=self._limits.close_seconds)  # noqa: TRY400 - ours
            return 1
        log.info("worker_stopped", requests=self._connections.requests_total)
        await self._channel.flush()
        return 0

    # Commands

    async def _stacks(self, _arguments: dict[str, Any]) -> bytes:
        return all_stacks().encode()

    async def _requests(self, _arguments: dict[str, Any]) -> bytes:
        return "\n".join(self._connections.running()).encode()

    async def _vitals(self, _arguments: dict[str, Any]) -> bytes:
        oldest = self._connections.oldest(self._loop.time(), OLDEST)
        running = running_requests(oldest, self._application.state.tasks, self._program.route_of)
        return json.dumps({**self._program.vitals(), "running": running}).encode()
