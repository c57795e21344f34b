"""Answers the version that a file held when the code was loaded; some versions do not start."""

import os
import time
from pathlib import Path

from servekit.draining import Draining
from servekit.logs import configure_logs
from servekit.supervisor.program import Program

VERSION = Path(os.environ["VERSION_FILE"]).read_text().strip()


def program() -> Program:
    configure_logs("info", "json")
    draining = Draining()

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            await receive()
            if VERSION == "broken":
                raise RuntimeError("this version cannot start")
            if VERSION == "verbose":
                raise RuntimeError("this version cannot start" + "!" * 6 * 2**20)
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        headers = [(b"content-length", str(len(VERSION)).encode())]
        if draining.active:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": VERSION.encode()})

    if VERSION == "endless":
        time.sleep(60)
    if VERSION == "unloadable verbose":
        raise RuntimeError("this version cannot be loaded" + "!" * 6 * 2**20)
    if VERSION == "unloadable":
        raise RuntimeError("this version cannot be loaded")
    return Program(asgi=app, draining=draining)
