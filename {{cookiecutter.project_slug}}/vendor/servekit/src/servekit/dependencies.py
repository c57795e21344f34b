"""What routes ask for by annotation: the service itself, and its settings."""

from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from servekit.configuration.settings import Settings
from servekit.context import service_of
from servekit.service import Service

# Coroutines, here as everywhere: FastAPI would run plain functions in a thread.


async def get_service(connection: HTTPConnection) -> Service:
    """Return the service of this worker, for `Depends`."""
    service: Service = service_of(connection)
    return service


async def get_settings(connection: HTTPConnection) -> Settings:
    """Return the settings, for `Depends`; annotate with your own class to have its fields."""
    settings: Settings = service_of(connection).settings
    return settings


ServiceDep = Annotated[Service, Depends(get_service)]
"""The service of this worker: every part that it owns."""

SettingsDep = Annotated[Settings, Depends(get_settings)]
"""The settings; `Annotated[MySettings, Depends(get_settings)]` for those of a subclass."""
