"""A real supervisor with real workers, for tests: started, watched, and never left behind."""

import asyncio
import contextlib
import json
import os
import platform
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Self

from servekit.testing import patience
from servekit.testing.guarded import process_group

ROOT = Path(__file__).parents[2]
START_SECONDS = 20
PROGRAMS = "tests.processes.programs"


class Service:
    """The process, its log so far, and its two ports."""

    def __init__(
        self, program: str = "echo", *, environment=None, within=(), flags=(), **config: Any
    ) -> None:
        self.within = within
        self.flags = flags
        self.config = {"program": f"{PROGRAMS}.{program}:program", "workers": 2, **config}
        self.environment = environment or {}
        self.log: list[dict[str, Any]] = []
        self.other_output: list[str] = []
        self.port = self.admin_port = 0

    async def __aenter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            group = stack.enter_context(process_group())
            self.process = await asyncio.create_subprocess_exec(
                *(*self.within, sys.executable, *self.flags, "-m", "tests.processes.serve"),
                json.dumps(self.config),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                limit=2**22,
                cwd=ROOT,
                env=os.environ | self.environment,
                preexec_fn=lambda: os.setpgid(0, group),
            )
            self._guard = stack.pop_all()
        self.reading = asyncio.create_task(self.read())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._guard.close()
        await self.process.wait()
        await self.reading

    async def read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            try:
                record = json.loads(line)
            except ValueError:
                self.other_output.append(line.decode())
                continue
            self.log.append(record)
            if record["event"] == "listening":
                self.port, self.admin_port = record["port"], record["admin_port"]

    async def started(self) -> Self:
        ended = lambda: self.process.returncode is not None  # noqa: E731 - two conditions, one wait
        await eventually(lambda: self.port or ended(), START_SECONDS, self.everything)
        assert self.port, self.everything()
        return self

    async def exit_code(self, seconds: float = 10) -> int:
        async with asyncio.timeout(patience(seconds)):
            code = await self.process.wait()
            await self.reading
            return code

    def events(self, name: str) -> list[dict[str, Any]]:
        return [record for record in self.log if record["event"] == name]

    def everything(self) -> str:
        return json.dumps(self.log, indent=1) + "".join(self.other_output)

    def pids_alive(self) -> list[int]:
        pids = [record["pid"] for record in self.events("worker_started")]
        return [pid for pid in pids if alive(pid)]

    async def ask(self, path: str, **headers: str) -> Any:
        def ask():
            url = f"http://127.0.0.1:{self.admin_port}{path}"
            request = urllib.request.Request(url, headers=headers)
            try:
                with urllib.request.urlopen(request, timeout=patience(5)) as response:
                    return response.read()
            except urllib.error.HTTPError as answer:
                with answer:  # Python 3.14 warns of those that nobody closed
                    answer.add_note(answer.read().decode(errors="replace"))
                    raise

        return await asyncio.to_thread(ask)

    async def workers(self):
        return json.loads(await self.ask("/workers"))["workers"]

    async def get(self, path: str = "/"):
        """Ask for a path on a connection of its own and return the body of a 200."""
        async with self.connection() as connection:
            return await connection.get(path)

    @contextlib.asynccontextmanager
    async def connection(self):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield Connection(reader, writer)
        finally:
            writer.close()


class Connection:
    """One keep-alive connection of a client that believes what it reads."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.closing = False

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def ask(self, path: str, headers: str = "") -> None:
        self.send(f"GET {path} HTTP/1.1\r\nHost: test\r\n{headers}\r\n".encode())

    async def get(self, path: str = "/") -> str:
        self.ask(path)
        status, _, body = await self.answer()
        assert status == 200, (status, body)
        return body.decode()

    async def answer(self, seconds: float = 10) -> tuple[int, dict[str, str], bytes]:
        async with asyncio.timeout(patience(seconds)):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            lines = head.split("\r\n")[:-2]
            headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines[1:])}
            self.closing = headers.get("connection") == "close"
            body = await self.reader.readexactly(int(headers.get("content-length", 0)))
            return int(lines[0].split()[1]), headers, body

    async def closed(self, seconds: float = 10) -> bytes:
        """Return what still came before the end of the connection."""
        async with asyncio.timeout(patience(seconds)):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b"reset"


async def eventually(condition, seconds: float = 10, explain=lambda: "") -> Any:
    """Wait until a condition holds, a coroutine function's too, and return its value."""
    seconds = patience(seconds)
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {seconds} s: {explain()}"
        await asyncio.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def children(pid: int) -> list[int]:
    """Return the children of a process, those that nobody reaped included."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def receives(pid: int) -> bool:
    """Whether a process waits for what comes over a socket, in a plain call."""
    number = {"x86_64": "45", "aarch64": "207"}[platform.machine()]  # of recvfrom
    try:
        return Path(f"/proc/{pid}/syscall").read_text().split()[:1] == [number]
    except OSError:  # it has ended
        return False


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def children_of(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
