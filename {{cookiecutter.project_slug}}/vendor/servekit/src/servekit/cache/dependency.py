"""The cache, as routes ask for it."""

from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from servekit.cache.cache import Cache
from servekit.context import service_of


async def get_cache(connection: HTTPConnection) -> Cache:
    """Return the cache of this worker, for `Depends`."""
    return service_of(connection).cache


CacheDep = Annotated[Cache, Depends(get_cache)]
"""The cache of this worker."""
