"""More requests than a worker can serve, and one worker that gets nearly all of them."""

from __future__ import annotations

import contextlib
import http.client
import os
import threading
from typing import TYPE_CHECKING

from doctor_matrix.ailing.loop import burn
from doctor_matrix.cases import fault, twin

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import FastAPI

    from doctor_matrix.service import Running
    from servekit import Service

CLIENTS = 12


def work_a_little(app: FastAPI, _service: Service) -> None:
    """Answer after a few milliseconds of work."""

    @app.get("/")
    async def index() -> int:
        burn(0.004)
        return os.getpid()


overload = fault("overload", rate=400, settings={"WORKERS": 1}, allowed=frozenset())(work_a_little)
half_load = twin("overload", rate=40, settings={"WORKERS": 1})(work_a_little)


@contextlib.contextmanager
def pinned(running: Running, *, to_one: bool) -> Iterator[None]:
    """Have clients ask without a pause on connections that they keep, all to one worker or not."""
    end = threading.Event()

    def ask_on(connection: http.client.HTTPConnection) -> None:
        while not end.is_set():
            with contextlib.suppress(OSError, http.client.HTTPException):
                ask(connection)

    # Workers take turns in accepting, so that as many connections stand at the others meanwhile.
    opened: list[tuple[int, http.client.HTTPConnection]] = []
    wanted: list[http.client.HTTPConnection] = []
    while len(wanted) < CLIENTS:
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=5)
        opened.append((ask(connection), connection))
        wanted = [one for pid, one in opened if not to_one or pid == opened[0][0]]
    for _, connection in opened:
        if connection not in wanted:
            connection.close()
    clients = [threading.Thread(target=ask_on, args=[connection]) for connection in wanted]
    for client in clients:
        client.start()
    try:
        yield
    finally:
        end.set()
        for client in clients:
            client.join()


def ask(connection: http.client.HTTPConnection) -> int:
    """Return the process that answered."""
    connection.request("GET", "/")
    body = connection.getresponse().read()
    return int(body) if body.isdigit() else 0


def work_more(app: FastAPI, _service: Service) -> None:
    """Answer after 30 ms of work."""

    @app.get("/")
    async def index() -> int:
        burn(0.03)
        return os.getpid()


uneven_workers = fault(
    "uneven_workers",
    during=lambda running: pinned(running, to_one=True),
    rate=1,
    allowed=frozenset({"overload", "cpu_on_loop"}),
)(work_more)
even_workers = twin(
    "uneven_workers",
    during=lambda running: pinned(running, to_one=False),
    rate=1,
    allowed=frozenset({"overload", "cpu_on_loop"}),
)(work_more)
