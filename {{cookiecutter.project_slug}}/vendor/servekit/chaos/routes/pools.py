"""Work that would hold the loop, in the service's pools."""

import os
import time

from fastapi import APIRouter

from chaos.routes.jobs import compute
from chaos.routes.work import Done
from servekit.offload import ProcessesDep, ThreadsDep

router = APIRouter(prefix="/chaos/offload", include_in_schema=False)


@router.get("/block")
async def block(threads: ThreadsDep, seconds: float = 3) -> Done:
    """Block a thread of the service's pool."""
    await threads.run(time.sleep, seconds)
    return Done(pid=os.getpid())


@router.get("/compute")
async def compute_in_process(processes: ProcessesDep, seconds: float = 1) -> Done:
    """Compute in a process of the service's pool."""
    await processes.run(compute, seconds)
    return Done(pid=os.getpid())
