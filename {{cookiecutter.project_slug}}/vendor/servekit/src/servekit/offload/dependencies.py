"""The pools, as routes ask for them."""

from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from servekit.context import service_of
from servekit.offload.processes import Processes
from servekit.offload.threads import Threads


async def get_threads(connection: HTTPConnection) -> Threads:
    """Return the threads of this worker for blocking calls, for `Depends`."""
    threads: Threads = service_of(connection).threads
    return threads


async def get_processes(connection: HTTPConnection) -> Processes:
    """Return the processes of this worker for computation, for `Depends`."""
    processes: Processes = service_of(connection).processes
    return processes


ThreadsDep = Annotated[Threads, Depends(get_threads)]
"""Threads for blocking calls: `await threads.run(function, …)`."""

ProcessesDep = Annotated[Processes, Depends(get_processes)]
"""Processes for computation: `await processes.run(function, …)`."""
