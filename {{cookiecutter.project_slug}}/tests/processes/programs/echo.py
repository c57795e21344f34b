import asyncio
import os
import time

from service.runtime.draining import Draining
from service.runtime.program import Program


def program() -> Program:
    draining = Draining()

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        path = scope["path"]
        if path.startswith("/sleep/"):
            await asyncio.sleep(float(path.removeprefix("/sleep/")))
        elif path == "/block":
            time.sleep(30)  # noqa: ASYNC251 - the fault under test
        body = f"{os.getpid()}".encode()
        headers = [(b"content-length", str(len(body)).encode())]
        if draining.active:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def metrics(arguments):
        return b'# HELP requests_total All.\n# TYPE requests_total counter\nrequests_total{a="b"} 1.0\nplain 2.0\n'

    return Program(asgi=app, draining=draining, commands={"metrics": metrics})
