"""What routes of the example ask for by annotation."""

from typing import Annotated, cast

from fastapi import Depends, Request

from service.example.catalogue import Catalogue


async def get_catalogue(request: Request) -> Catalogue:
    """Return the catalogue; a coroutine, as FastAPI would run a plain function in a thread."""
    return cast("Catalogue", request.app.state.catalogue)


CatalogueDep = Annotated[Catalogue, Depends(get_catalogue)]
