"""The echo, with the commands of a whole service, something to find, and an answer too long."""

import asyncio
import gc

from servekit.logs import configure_logs
from servekit.monitors.profiling import Profiling
from servekit.supervisor.program import Program
from tests.processes.programs.echo import Echo, metrics

LEAK: list[bytes] = []
COUNT = 30_000


def program() -> Program:
    configure_logs("info", "json")
    echo = Waiting()
    commands = {"metrics": metrics, "large": large, "leak": leak, **Profiling().commands}
    return Program(asgi=echo, draining=echo.draining, commands=commands)


class Waiting(Echo):
    async def http(self, scope, receive, send):
        if scope["path"] == "/deep":
            await one(3600)
        await super().http(scope, receive, send)


async def one(seconds):
    await two(seconds)


async def two(seconds):
    await asyncio.sleep(seconds)


async def large(arguments):
    return bytes(300 * 2**20)


async def leak(arguments):
    LEAK.extend(b"%d" % number for number in range(COUNT))
    return str(gc.is_tracked(LEAK[0])).encode()
