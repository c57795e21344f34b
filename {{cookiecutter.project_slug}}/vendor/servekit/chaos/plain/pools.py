"""Work that would hold the loop, as a plain service does it: in the threads of plain functions."""

import os
import time

from fastapi import APIRouter

from chaos.routes.jobs import compute
from chaos.routes.work import Done

router = APIRouter(prefix="/chaos/offload")


@router.get("/block")
def block_thread(seconds: float = 3) -> Done:
    """Block a thread of FastAPI's pool."""
    time.sleep(seconds)
    return Done(pid=os.getpid())


@router.get("/compute")
def compute_in_thread(seconds: float = 1) -> Done:
    """Compute in a thread of FastAPI's pool."""
    compute(seconds)
    return Done(pid=os.getpid())
