"""The service that stands around the applications of other people's tests."""

from __future__ import annotations

import functools
from typing import Any

from servekit import Service, Settings
from servekit.event_log import LEVELS
from servekit.log_lines import render_json
from servekit.logs import write_events
from servekit.redis.embedded import EmbeddedServer
from servekit.testing.application import FOR_TESTS

CHOSEN = {
    "allowed_hosts": ["*"],
    # Some tests send a few MiB: the limit itself is the library's own tests' matter.
    "limit_body_bytes": 16 * 2**20,
}


@functools.cache
def valkey() -> EmbeddedServer:
    """Return a Valkey that runs as long as this process."""
    server = EmbeddedServer()
    server.__enter__()  # its guard ends it when this process has ended
    return server


@functools.cache
def settings() -> Settings:
    """Return the settings of every service, none of them from the environment."""
    write_events(LEVELS["critical"], render_json)
    values: dict[str, Any] = {"_env_file": None, "redis_url": valkey().url}
    return Settings(**FOR_TESTS | values | CHOSEN)


def new_service() -> Service:
    """Return a service for one application."""
    return Service(settings())
