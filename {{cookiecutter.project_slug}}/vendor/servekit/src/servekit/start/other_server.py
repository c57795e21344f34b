"""What an application needs of its surroundings where another server runs it, without workers."""

from __future__ import annotations

import atexit
import os
from typing import TypeVar

from servekit.configuration.environment import SettingsError, load_settings
from servekit.configuration.safety import remarks
from servekit.configuration.settings import Settings
from servekit.configuration.variables import names_of, unknown_variables
from servekit.event_log import get_logger
from servekit.logs import configure_logs
from servekit.redis.embedded import EmbeddedServer, EmbeddedServerError
from servekit.start.libraries import tell_libraries

MISSING = (
    "HOST, PORT, WORKERS and ADMIN_* are not read; there are no metrics, no replacement of what "
    "hangs, and no limits and deadlines of connections"
)

AnySettings = TypeVar("AnySettings", bound=Settings)

log = get_logger()


def settings_for_other_server(kind: type[AnySettings]) -> AnySettings:
    """Return the settings where another server calls `create_app`, and prepare what `main` would.

    `uvicorn service.app:create_app --factory` serves with one process: logs are set up in it, and
    outside of production a Redis of its own is started where REDIS_URL is empty. Settings that
    cannot be used end the process with a line each.
    """
    try:
        settings = with_redis(load_settings(kind))
    except SettingsError as error:
        raise SystemExit("\n".join(error.problems)) from None
    except EmbeddedServerError as error:
        raise SystemExit(str(error)) from None
    configure_logs(settings.log_level, settings.log_format)
    tell_libraries(settings)
    for line in [*unknown_variables(kind, uvicorns=False), *remarks(settings)]:
        log.warning("doubtful_setting", detail=line)
    log.warning("no_supervisor", missing=MISSING, instead="python -m service")
    return settings


def with_redis(settings: AnySettings) -> AnySettings:
    """Return settings that name a Redis: one that is started here, if none is."""
    if settings.production or settings.redis_url.get_secret_value():
        return settings
    server = EmbeddedServer()
    server.__enter__()
    atexit.register(server.__exit__, None, None, None)
    os.environ[names_of(type(settings), "redis_url")[0]] = server.url
    return load_settings(type(settings))
