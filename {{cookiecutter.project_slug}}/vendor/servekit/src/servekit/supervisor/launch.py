"""Starts workers, forked from a zygote or in interpreters of their own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from typing import TYPE_CHECKING, Any, Protocol

from servekit.event_log import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from servekit.supervisor.children import ChildSpawner, Reaper, ZygoteProcess

MESSAGE_BYTES_MAX = 2**22

log = get_logger()


class StartError(Exception):
    """A worker, or the code it runs, could not start; the text is the reason in one line."""

    def __init__(self, reason: str, trace: str = "") -> None:
        super().__init__(reason)
        self.trace = trace


class Launcher(Protocol):
    """One generation of code, from which workers are started."""

    async def open(self) -> None:
        """Load the code; raises StartError."""

    async def start(self, assignment: dict[str, Any], fds: list[int]) -> int:
        """Start a worker with these descriptors and return its pid; raises StartError."""

    def close(self) -> None:
        """Start no more workers."""


class ZygoteLauncher:
    """Talks to the zygote that `begin` returns.

    `on_loaded` is told which modules of the library the code uses, `on_lost` that the zygote died.
    """

    def __init__(
        self,
        begin: Callable[[], ZygoteProcess],
        *,
        start_seconds: float,
        on_loaded: Callable[[list[str]], None],
        on_exit: Callable[[int, int], None],
        on_lost: Callable[[], None],
    ) -> None:
        self._begin = begin
        self._start_seconds = start_seconds
        self._on_loaded = on_loaded
        self._on_exit = on_exit
        self._on_lost = on_lost
        self._process: ZygoteProcess | None = None
        self._control: socket.socket | None = None
        self._replies: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._one_at_a_time = asyncio.Lock()
        self._listening: asyncio.Task[None] | None = None

    async def open(self) -> None:
        self._process = self._begin()
        self._control = self._process.control
        self._replies = asyncio.Queue()
        self._listening = asyncio.create_task(self._listen(self._control, self._replies))
        try:
            reply = await self._next_reply("the code was not loaded")
        except BaseException:
            # It may hang in an import, and hears nothing until that is done.
            self._kill()
            self.close()
            raise
        if reply["event"] != "loaded":
            self.close()
            raise StartError(reply["reason"], reply.get("trace", ""))
        self._on_loaded(reply.get("modules", []))

    async def start(self, assignment: dict[str, Any], fds: list[int]) -> int:
        async with self._one_at_a_time:
            if self._control is None:
                raise StartError("the zygote is gone")
            line = json.dumps(assignment).encode() + b"\n"
            try:
                socket.send_fds(self._control, [line], fds)
            except OSError as error:
                raise StartError(f"the zygote is gone: {error}") from error
            reply = await self._fork_reply()
            if reply["event"] != "forked":
                raise StartError(reply.get("reason", "the zygote did not fork"))
            return int(reply["pid"])

    def close(self) -> None:
        """Let the zygote end; it does as soon as it has no workers."""
        if self._control is not None:
            if self._listening is not None:
                self._listening.cancel()
            self._control.close()
            self._control = None
            self._replies.put_nowait({"event": "failed", "reason": "the zygote was let go"})

    async def _fork_reply(self) -> dict[str, Any]:
        """Wait for the reply even when cancelled: the next caller would take it for its own."""
        reply = asyncio.create_task(self._next_reply("the zygote did not fork"))
        try:
            return await asyncio.shield(reply)
        finally:
            await asyncio.wait([reply])
            if not reply.cancelled() and reply.exception() is not None:
                # It stands still. Its end is heard of, code is loaded anew, its workers serve on.
                self._kill()

    async def _next_reply(self, failure: str) -> dict[str, Any]:
        try:
            async with asyncio.timeout(self._start_seconds):
                return await self._replies.get()
        except TimeoutError:
            raise StartError(f"{failure} within {self._start_seconds:g} s") from None

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()

    @property
    def _pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    async def _listen(self, control: socket.socket, replies: asyncio.Queue[dict[str, Any]]) -> None:
        reason = "the zygote died"
        try:
            await self._read(control, replies)
        except OSError as error:
            # Reset, as it is dead; or there is no descriptor, and nobody hears it.
            reason = f"the zygote died: {error}"
            self._kill()
        except Exception as error:  # noqa: BLE001 - nobody knows what such a zygote does
            fault = f"{type(error).__name__}: {error}"
            log.error("zygote_not_understood", pid=self._pid, reason=fault)  # noqa: TRY400 - the trace is ours, the fault is not
            self._kill()
        log.warning("zygote_died", pid=self._pid)
        replies.put_nowait({"event": "failed", "reason": reason})
        if self._control is control:
            control.close()
            self._control = None
        self._on_lost()

    async def _read(self, control: socket.socket, replies: asyncio.Queue[dict[str, Any]]) -> None:
        """Read what the zygote says until its end, which a child of the application's may outlive.

        Such a child has the other end of the socket too, so that the zygote's exit ends ours.
        """
        reader, writer = await asyncio.open_unix_connection(
            sock=control.dup(), limit=MESSAGE_BYTES_MAX
        )
        if self._process is not None:
            self._process.exited.add_done_callback(lambda _: no_more(control))
        try:
            while line := await reader.readline():
                message = json.loads(line)
                if message["event"] == "exited":
                    self._on_exit(message["pid"], message["status"])
                else:
                    replies.put_nowait(message)
        finally:
            writer.close()


def no_more(control: socket.socket) -> None:
    """End what comes over a socket; on Linux what has arrived can still be read."""
    with contextlib.suppress(OSError):  # closed already
        control.shutdown(socket.SHUT_RDWR)


class SpawnLauncher:
    """Starts each worker in a fresh interpreter."""

    def __init__(
        self, spawner: ChildSpawner, reaper: Reaper, *, on_exit: Callable[[int, int], None]
    ) -> None:
        self._spawner = spawner
        self._reaper = reaper
        self._on_exit = on_exit

    async def open(self) -> None:
        """Load nothing: each worker does that itself."""

    async def start(self, assignment: dict[str, Any], fds: list[int]) -> int:
        channel, stacks = fds
        process = self._spawner.start(
            "servekit.worker.spawned", fds, assignment=assignment, channel=channel, stacks=stacks
        )

        def ended(future: asyncio.Future[int]) -> None:
            process.returncode = future.result()
            self._on_exit(process.pid, future.result())

        self._reaper.watch(process.pid).add_done_callback(ended)
        return process.pid

    def close(self) -> None:
        """Nothing is kept between starts."""
