"""A worker as the supervisor sees it: its heartbeats, its stacks and its end."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import socket
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from servekit.event_log import get_logger
from servekit.supervisor import events
from servekit.supervisor.channel import Channel
from servekit.supervisor.program import reason_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from servekit.supervisor.launch import Launcher

EXIT_REPORT_SECONDS = 1.0
LAST_WORDS_SECONDS = 0.25
"""At most, between the news of an end and it counting: a child of the worker's may keep its channel
open."""
QUIET_SECONDS = 0.05
HISTORY = 61
"""Heartbeats that are kept: the ends of a minute's seconds."""

log = get_logger()


class CommandError(Exception):
    """A worker refused a command, does not know it, or did not answer in time."""


class WorkerProcess:
    """One worker process, from its start to its end; `tell` hears of what it does by itself."""

    def __init__(
        self,
        number: int,
        *,
        slot: int,
        generation: int,
        tell: Callable[[events.Event], None],
        note: Callable[[dict[str, Any]], None] = lambda _: None,
    ) -> None:
        self.number = number
        self.slot = slot
        self.generation = generation
        self.pid = 0
        self.started_at = time.monotonic()
        self.heartbeat_at = self.started_at
        self.status: dict[str, Any] = {}
        self.history: deque[dict[str, Any]] = deque(maxlen=HISTORY)
        """Its status at the last heartbeats, a second apart."""
        loop = asyncio.get_running_loop()
        self.exited: asyncio.Future[int | None] = loop.create_future()
        self._tell = tell
        self._note = note
        self._killed = False
        self._call_ids = itertools.count()
        self._pending_calls: dict[int, asyncio.Future[tuple[bool, bytes]]] = {}
        self._stacks = bytearray()
        self._channel: Channel | None = None
        self._receiving: asyncio.Task[None] | None = None
        self._heard_all = asyncio.Event()
        self._ending: asyncio.Task[None] | None = None

    async def start(self, launcher: Launcher, count_entry: int, log_level: str = "") -> None:
        """Have the process started; when it is ready, it says so.

        Raises:
            Exception: There is no process: StartError, or what the system said.
        """
        ours, theirs = socket.socketpair()
        self._stacks_fd, stacks_end = os.pipe()
        assignment = {
            "slot": self.slot,
            "count_entry": count_entry,
            "generation": self.generation,
            "log_level": log_level,
        }
        try:
            fds = [theirs.fileno(), stacks_end]
            self.pid = await launcher.start(assignment, fds)
        except BaseException:
            ours.close()
            os.close(self._stacks_fd)
            raise
        finally:
            theirs.close()
            os.close(stacks_end)
        os.set_blocking(self._stacks_fd, False)
        asyncio.get_running_loop().add_reader(self._stacks_fd, self._collect_stacks)
        self._channel = await Channel.open(ours)
        self._receiving = asyncio.create_task(self._receive_events(self._channel))
        if self._killed:
            self.kill()

    @property
    def uptime_seconds(self) -> float:
        return time.monotonic() - self.started_at

    @property
    def silent_seconds(self) -> float:
        """Time since the last heartbeat, or since the start."""
        return time.monotonic() - self.heartbeat_at

    def drain(
        self, reason: str, *, accept: bool, delay: float, seconds: float, refused: bool
    ) -> None:
        """Tell the worker to end, and why; it may accept until the delay is over.

        Then, if `refused`, until the sockets do no more.
        """
        limits = {"accept": accept, "delay": delay, "seconds": seconds, "refused": refused}
        self._send({"request": "drain", "reason": reason, **limits})

    def set_log_level(self, level: str) -> None:
        """Have the worker write events of this level and above."""
        self._send({"request": "log_level", "level": level})

    def kill(self) -> None:
        """End the process at once, or as soon as there is one."""
        self._killed = True
        self.signal(signal.SIGKILL)

    def end_without_process(self) -> None:
        """Note that there is no process, and will be none."""
        if self.pid:
            self.kill()
        elif not self.exited.done():
            self.exited.set_result(None)
            self._tell(events.Exited(self.number, None))

    def signal(self, number: int) -> None:
        if self.pid and self._ending is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def call(
        self, command: str, seconds: float, arguments: dict[str, Any] | None = None
    ) -> bytes:
        """Run a command of the worker's.

        Raises:
            CommandError: It failed, is unknown, or gave no answer in time.
        """
        identity = next(self._call_ids)
        future = asyncio.get_running_loop().create_future()
        self._pending_calls[identity] = future
        self._send(
            {"request": "call", "id": identity, "command": command, "arguments": arguments or {}}
        )
        try:
            async with asyncio.timeout(seconds):
                ok, body = await future
        except TimeoutError:
            raise CommandError(f"worker {self.slot} gave no answer within {seconds:g} s") from None
        finally:
            del self._pending_calls[identity]
        if not ok:
            raise CommandError(body.decode(errors="replace"))
        return bytes(body)

    async def thread_stacks(self, seconds: float = 0.5) -> str:
        """Return the stacks of all threads, even of a blocked loop; none of a stopped process."""
        self._stacks.clear()
        self.signal(signal.SIGUSR1)
        deadline = time.monotonic() + seconds
        size = -1
        while time.monotonic() < deadline and (not self._stacks or size != len(self._stacks)):
            size = len(self._stacks)
            await asyncio.sleep(QUIET_SECONDS)
        return self._stacks.decode(errors="replace")

    def ended(self, status: int | None) -> None:
        """Take note of the end, once what it said before was heard; None if nobody knows how."""
        if self._ending is None:
            self._ending = asyncio.create_task(self._end(status))

    async def _end(self, status: int | None) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._heard_all.wait(), LAST_WORDS_SECONDS)
        self.exited.set_result(status)
        for future in self._pending_calls.values():
            if not future.done():
                future.set_result((False, b"the worker died"))
        asyncio.get_running_loop().remove_reader(self._stacks_fd)
        os.close(self._stacks_fd)
        if self._channel is not None:
            self._channel.close()
        self._tell(events.Exited(self.number, status))

    def _send(self, message: dict[str, Any]) -> None:
        if self._channel is not None:
            self._channel.send(message)

    async def _receive_events(self, channel: Channel) -> None:
        try:
            while (received := await channel.receive()) is not None:
                self._handle(*received)
        except Exception as error:  # noqa: BLE001 - nobody knows what such a worker does
            log.error(  # noqa: TRY400 - the trace is ours, the fault is not
                "worker_not_understood", worker=self.slot, reason=reason_of(error)
            )
            self.kill()
        self._heard_all.set()
        # Dead, or as good as dead: the process that started it will soon say how it ended.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self.exited), EXIT_REPORT_SECONDS)
            return
        self.kill()
        self.ended(None)

    def _handle(self, message: dict[str, Any], body: bytes) -> None:
        match message["event"]:
            case "heartbeat":
                self.heartbeat_at = time.monotonic()
                self.status = message["status"]
                self.history.append(self.status)
            case "ready":
                self.heartbeat_at = time.monotonic()
                self._tell(events.Ready(self.number))
            case "failed":
                failure = message["reason"], message["trace"]
                self._tell(events.StartFailed(self.number, *failure))
            case "draining":
                self._tell(events.Draining(self.number))
            case "noted":
                self._note(message["entry"])
            case "answer":
                future = self._pending_calls.get(message["id"])
                if future is not None and not future.done():
                    future.set_result((message["ok"], body))

    def _collect_stacks(self) -> None:
        try:
            self._stacks += os.read(self._stacks_fd, 65536)
        except OSError:
            return
