"""What routes of the example ask for by annotation."""

from typing import Annotated, cast

from fastapi import Depends, Request

from servekit.problems import problem_responses
from servekit.sessions import UserDep
from service.example.catalogue import Catalogue


async def get_catalogue(request: Request) -> Catalogue:
    """Return the catalogue; a coroutine, as FastAPI would run a plain function in a thread."""
    return cast("Catalogue", request.app.state.catalogue)


CatalogueDep = Annotated[Catalogue, Depends(get_catalogue)]


async def require_login(user: UserDep) -> None:
    """Answer 401 where nobody is logged in; a service with roles would ask for one here."""


LOGGED_IN = Depends(require_login)
"""For `dependencies=` of routes that write; they run before a body is read."""

NOT_LOGGED_IN = problem_responses({401: "Nobody is logged in"})
