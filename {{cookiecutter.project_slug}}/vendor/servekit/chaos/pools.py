"""Work that would hold the loop: in the service's pools, and as a plain service does it."""

import os
import time

from fastapi import APIRouter, Request

from chaos.jobs import compute
from chaos.routes import Done

in_pools = APIRouter(prefix="/chaos/offload")
in_threads = APIRouter(prefix="/chaos/offload")


@in_pools.get("/block")
async def block(request: Request, seconds: float = 3) -> Done:
    """Block a thread of the service's pool."""
    await request.app.state.threads.run(time.sleep, seconds)
    return Done(pid=os.getpid())


@in_pools.get("/compute")
async def compute_in_process(request: Request, seconds: float = 1) -> Done:
    """Compute in a process of the service's pool."""
    await request.app.state.processes.run(compute, seconds)
    return Done(pid=os.getpid())


@in_threads.get("/block")
def block_thread(seconds: float = 3) -> Done:
    """Block a thread of FastAPI's pool."""
    time.sleep(seconds)
    return Done(pid=os.getpid())


@in_threads.get("/compute")
def compute_in_thread(seconds: float = 1) -> Done:
    """Compute in a thread of FastAPI's pool."""
    compute(seconds)
    return Done(pid=os.getpid())
