"""Loops that stand still, and those that only look so."""

from __future__ import annotations

import gc
import hashlib
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from doctor_matrix.cases import fault, twin
from servekit.offload import ThreadsDep, cooperatively

if TYPE_CHECKING:
    from fastapi import FastAPI

    from servekit import Service

HEAP_OBJECTS, COLLECTIONS = 700_000, 4
ITEMS, PAGE = 400_000, 50

log = structlog.get_logger()


def call_slow_library() -> None:
    time.sleep(0.2)


@fault("blocking_call", guilty=call_slow_library, rate=8)
def blocking_call(app: FastAPI, _service: Service) -> None:
    @app.get("/")
    async def index() -> None:
        call_slow_library()


@twin("blocking_call", rate=8)
def blocking_call_in_a_thread(app: FastAPI, _service: Service) -> None:
    @app.get("/")
    async def index(threads: ThreadsDep) -> None:
        await threads.run(call_slow_library)


def burn(seconds: float = 0.15) -> None:
    ends = time.thread_time() + seconds
    while time.thread_time() < ends:
        pass


@fault("cpu_on_loop", guilty=burn, rate=8)
def cpu_on_loop(app: FastAPI, _service: Service) -> None:
    @app.get("/")
    async def index() -> None:
        burn()


@twin("cpu_on_loop", rate=4)
def cpu_that_gives_way(app: FastAPI, _service: Service) -> None:
    @app.get("/")
    async def index() -> None:
        async for _ in cooperatively(range(100)):
            burn(0.0005)


def spin(count: int = 400_000) -> None:
    while True:
        sum(range(count))


@fault("gil_contention", guilty=spin, rate=20, settings={"WORKERS": 1})
def gil_contention(app: FastAPI, service: Service) -> None:
    answer_well(app)
    in_threads(service, spin, 2)


def hash_on(data: bytes = bytes(8_000_000)) -> None:
    while True:
        hashlib.sha256(data)


@twin("gil_contention", rate=20)
def threads_beside_the_interpreter(app: FastAPI, service: Service) -> None:
    answer_well(app)
    in_threads(service, hash_on, 1)


def in_threads(service: Service, function: Any, count: int) -> None:
    """Have threads of every worker run a function for ever."""

    @service.on_worker_start
    def start(_slot: int) -> None:
        for _ in range(count):
            threading.Thread(target=function, daemon=True).start()


def answer_well(app: FastAPI) -> None:
    """Answer without any trouble."""

    @app.get("/")
    async def index() -> str:
        return "ok"


@fault("gc", rate=6, settings={"WORKERS": 1})
def collector(app: FastAPI, service: Service) -> None:
    large_heap(service)

    @app.get("/")
    async def index() -> None:
        for _ in range(COLLECTIONS):
            gc.collect()


@twin("gc", rate=10, settings={"WORKERS": 1})
def large_heap_at_rest(app: FastAPI, service: Service) -> None:
    large_heap(service)
    answer_well(app)


def large_heap(service: Service) -> None:
    """Have every worker keep many objects that the collector looks at."""
    held: list[list[int]] = []

    @service.on_worker_start
    def fill(_slot: int) -> None:
        held.extend([number] for number in range(HEAP_OBJECTS))


def items(app: FastAPI, _service: Service, *, count: int) -> None:
    """Answer with a list."""
    made = [{"id": number, "name": f"item {number}"} for number in range(count)]

    @app.get("/")
    async def index() -> list[dict[str, Any]]:
        return made


huge_json = fault("huge_json", rate=4, allowed=frozenset({"gc"}))(partial(items, count=ITEMS))
a_page_of_json = twin("huge_json", rate=20)(partial(items, count=PAGE))


def tell() -> None:
    for _ in range(10):
        log.info("told", text="x" * 1000)


@fault("log_blocks", guilty=tell, rate=6, settings={"WORKERS": 1}, slow_log=True)
def log_blocks(app: FastAPI, _service: Service) -> None:
    @app.get("/")
    async def index() -> None:
        tell()


@twin("log_blocks", rate=6, settings={"WORKERS": 1})
def log_that_is_read(app: FastAPI, _service: Service) -> None:
    @app.get("/")
    async def index() -> None:
        tell()
