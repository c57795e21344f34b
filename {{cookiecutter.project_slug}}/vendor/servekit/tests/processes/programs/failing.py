"""Its lifespan fails when a client asks for it, as a task group's does whose task raises."""

import asyncio

from servekit.logs import configure_logs
from servekit.supervisor.program import Program
from tests.processes.programs import echo


def program() -> Program:
    configure_logs("info", "json")
    asked = echo.program()
    failing = asyncio.Event()

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await failing.wait()
            raise RuntimeError("the consumer has ended")
        if scope["path"] == "/fail":
            failing.set()
        await asked.asgi(scope, receive, send)

    return Program(asgi=app, draining=asked.draining)
