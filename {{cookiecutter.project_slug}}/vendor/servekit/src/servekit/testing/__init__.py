"""Fixtures for the tests of a service; a conftest names them in one line.

    pytest_plugins = ["servekit.testing"]

    @pytest.fixture
    def settings(make_settings, tmp_path):
        return make_settings(Settings, database_url=f"sqlite:///{tmp_path}/test.db")

    @pytest.fixture
    def app(settings):
        return create_app(settings)

It needs the extra `servekit[testing]`, and a Valkey or Redis server: that of `servekit[embedded]`,
one on PATH, or the one that TEST_REDIS_URL names, which is emptied.

PYTEST_DONT_REWRITE: a conftest may import from here what it names as a plugin.
"""

from servekit.testing.application import (
    LogIn,
    MakeSettings,
    NewClient,
    client,
    log_in,
    make_settings,
    new_client,
    running_app,
    service,
    settings,
)
from servekit.testing.blocking_calls import (
    blocking_calls as blocking_calls,  # for no_blocking_calls to find
    blocking_modules,
    no_blocking_calls,
)
from servekit.testing.databases import both_databases, database, database_url
from servekit.testing.hooks import (
    pytest_asyncio_loop_factories as pytest_asyncio_loop_factories,
    pytest_xdist_auto_num_workers as pytest_xdist_auto_num_workers,
)
from servekit.testing.postgresql import postgresql_url
from servekit.testing.redis_server import redis_server, redis_url
from servekit.testing.running_service import RunningService, StartService, start_service
from servekit.testing.speed import patience

__all__ = [
    "LogIn",
    "MakeSettings",
    "NewClient",
    "RunningService",
    "StartService",
    "blocking_modules",
    "both_databases",
    "client",
    "database",
    "database_url",
    "log_in",
    "make_settings",
    "new_client",
    "no_blocking_calls",
    "patience",
    "postgresql_url",
    "redis_server",
    "redis_url",
    "running_app",
    "service",
    "settings",
    "start_service",
]
