"""What routes ask for by type."""

from typing import Annotated, cast

from fastapi import Depends, Request

from service.example.catalogue import Catalogue
from service.example.users import Users
from service.runtime.offload.processes import Processes

# Coroutines, as FastAPI would run plain functions in a thread.


async def catalogue(request: Request) -> Catalogue:
    """Return the application's catalogue."""
    return cast("Catalogue", request.app.state.catalogue)


async def users(request: Request) -> Users:
    """Return the application's users."""
    return cast("Users", request.app.state.users)


async def processes(request: Request) -> Processes:
    """Return the processes for CPU work."""
    return cast("Processes", request.app.state.processes)


CatalogueDep = Annotated[Catalogue, Depends(catalogue)]
UsersDep = Annotated[Users, Depends(users)]
ProcessesDep = Annotated[Processes, Depends(processes)]
