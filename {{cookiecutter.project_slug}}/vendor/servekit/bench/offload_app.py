"""What `bench/offload.py` loads: one route that is light, and 150 ms of work done in five ways."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from bench.work import compute, interpreters
from servekit.offload.cooperative import cooperatively
from servekit.offload.processes import Processes
from servekit.offload.threads import Threads
from servekit.tuning import tune

WORK_SECONDS = 0.15
STEP_SECONDS = 0.0002

registry = CollectorRegistry()
processes = Processes(registry=registry, size=1)
threads = Threads(registry=registry)


@contextlib.asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Open the pools."""
    tune()  # as every worker
    async with processes, threads:
        with interpreters() as app.state.interpreters:
            yield


app = FastAPI(lifespan=lifespan)


@app.get("/light")
async def light() -> dict[str, bool]:
    """Answer at once."""
    return {"light": True}


@app.get("/inline")
async def inline() -> None:
    """Compute on the loop: the mistake."""
    compute(WORK_SECONDS)


@app.get("/cooperative")
async def cooperative() -> None:
    """Compute on the loop in steps that give way."""
    async for _ in cooperatively(range(int(WORK_SECONDS / STEP_SECONDS))):
        compute(STEP_SECONDS)


@app.get("/thread")
async def thread() -> None:
    """Compute in a thread, which shares the interpreter's lock with the loop."""
    await threads.run(compute, WORK_SECONDS)


@app.get("/process")
async def process() -> None:
    """Compute in another process."""
    await processes.run(compute, WORK_SECONDS)


@app.get("/interpreter")
async def interpreter() -> None:
    """Compute in another interpreter of this process."""
    await asyncio.get_running_loop().run_in_executor(app.state.interpreters, compute, WORK_SECONDS)
