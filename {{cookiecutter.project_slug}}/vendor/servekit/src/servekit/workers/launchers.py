"""Two ways to start a worker: forked from a zygote, or in an interpreter of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Protocol

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

    from servekit.edge.board import Board
    from servekit.workers.options import SupervisorConfig
    from servekit.workers.reaper import Reaper

log = structlog.get_logger()


class StartError(Exception):
    """A worker, or the code it runs, could not start; the text is the reason in one line."""

    def __init__(self, reason: str, trace: str = "") -> None:
        super().__init__(reason)
        self.trace = trace


class Launcher(Protocol):
    """One generation of code, from which workers are started."""

    async def open(self) -> None:
        """Load the code; raises StartError."""

    async def start(self, order: dict[str, Any], fds: list[int]) -> int:
        """Start a worker with these descriptors and return its pid; raises StartError."""

    def close(self) -> None:
        """Start no more workers."""


class Boot:
    """What every child is told once, and how it is started."""

    def __init__(
        self, config: SupervisorConfig, listeners: list[socket.socket], board: Board
    ) -> None:
        self._fds = [*(listener.fileno() for listener in listeners), board.fd]
        self._message = {
            "program": config.program,
            "arguments": config.arguments,
            "listeners": [listener.fileno() for listener in listeners],
            "board": board.fd,
            "limits": asdict(config.limits),
        }

    def start(self, module: str, fds: list[int], **more: object) -> subprocess.Popen[bytes]:
        """Start a Python module as a child that inherits the sockets and these descriptors."""
        environment = os.environ | {"SERVEKIT_BOOT": json.dumps(self._message | more)}
        return subprocess.Popen(
            [sys.executable, "-m", module], pass_fds=[*self._fds, *fds], env=environment
        )


class ZygoteLauncher:
    """Talks to one zygote; starts another of the same kind should it die."""

    def __init__(
        self,
        boot: Boot,
        reaper: Reaper,
        *,
        start_seconds: float,
        on_exit: Callable[[int, int], None],
    ) -> None:
        self._boot = boot
        self._reaper = reaper
        self._start_seconds = start_seconds
        self._on_exit = on_exit
        self._control: socket.socket | None = None
        self._answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._busy = asyncio.Lock()
        self._listening: asyncio.Task[None] | None = None
        self.pid: int | None = None

    async def open(self) -> None:
        async with self._busy:
            await self._open()

    async def _open(self) -> None:
        self._control, theirs = socket.socketpair()
        with theirs:
            process = self._boot.start(
                "servekit.workers.zygote", [theirs.fileno()], control=theirs.fileno()
            )
        self.pid = process.pid
        exited = self._reaper.watch(process.pid)
        exited.add_done_callback(lambda future: setattr(process, "returncode", future.result()))
        self._control.setblocking(False)
        self._answers = asyncio.Queue()
        self._listening = asyncio.create_task(self._listen(self._control, self._answers))
        try:
            answer = await self._answer(self._start_seconds)
        except BaseException:
            # It may hang in an import, and hears nothing until that is done.
            if not exited.done():
                os.kill(process.pid, signal.SIGKILL)
            raise
        if answer["event"] != "loaded":
            self.close()
            raise StartError(answer["reason"], answer.get("trace", ""))

    async def start(self, order: dict[str, Any], fds: list[int]) -> int:
        async with self._busy:
            if self._control is None:
                await self._open()
            assert self._control is not None  # noqa: S101 - open() made it or raised
            line = json.dumps(order).encode() + b"\n"
            try:
                socket.send_fds(self._control, [line], fds)
            except OSError as error:
                raise StartError(f"the zygote is gone: {error}") from error
            answer = await self._forked()
            if answer["event"] != "forked":
                raise StartError(answer.get("reason", "the zygote did not fork"))
            return int(answer["pid"])

    def close(self) -> None:
        """Let the zygote end; it does as soon as it has no workers."""
        if self._control is not None:
            if self._listening is not None:
                self._listening.cancel()
            self._control.close()
            self._control = None

    async def _forked(self) -> dict[str, Any]:
        """Wait for the answer even when cancelled: the next caller would take it for its own."""
        answer = asyncio.create_task(self._answer(self._start_seconds))
        try:
            return await asyncio.shield(answer)
        finally:
            await asyncio.wait([answer])

    async def _answer(self, seconds: float) -> dict[str, Any]:
        try:
            async with asyncio.timeout(seconds):
                return await self._answers.get()
        except TimeoutError:
            self.close()
            raise StartError(f"the code was not loaded within {seconds:g} s") from None

    async def _listen(self, control: socket.socket, answers: asyncio.Queue[dict[str, Any]]) -> None:
        reader, writer = await asyncio.open_unix_connection(sock=control.dup())
        try:
            while line := await reader.readline():
                message = json.loads(line)
                if message["event"] == "exited":
                    self._on_exit(message["pid"], message["status"])
                else:
                    answers.put_nowait(message)
        except OSError:
            pass
        finally:
            writer.close()
        log.warning("zygote_died", pid=self.pid)
        answers.put_nowait({"event": "failed", "reason": "the zygote died"})
        if self._control is control:
            control.close()
            self._control = None


class SpawnLauncher:
    """Starts each worker in a fresh interpreter."""

    def __init__(self, boot: Boot, reaper: Reaper, *, on_exit: Callable[[int, int], None]) -> None:
        self._boot = boot
        self._reaper = reaper
        self._on_exit = on_exit

    async def open(self) -> None:
        """Load nothing: each worker does that itself."""

    async def start(self, order: dict[str, Any], fds: list[int]) -> int:
        channel, stacks = fds
        process = self._boot.start(
            "servekit.workers.spawned", fds, order=order, channel=channel, stacks=stacks
        )

        def ended(future: asyncio.Future[int]) -> None:
            process.returncode = future.result()
            self._on_exit(process.pid, future.result())

        self._reaper.watch(process.pid).add_done_callback(ended)
        return process.pid

    def close(self) -> None:
        """Nothing is kept between starts."""
