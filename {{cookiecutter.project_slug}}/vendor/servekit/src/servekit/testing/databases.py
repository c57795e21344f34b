"""An empty SQL database for each test, of each kind; it needs the extra `servekit[sql]`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from servekit.service import Service
from servekit.testing import postgresql

if TYPE_CHECKING:
    from servekit.sql import Database

both_databases = pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
"""Marks a test, or as `pytestmark` a module, to run on SQLite and on PostgreSQL."""


@pytest.fixture
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database: SQLite's, or what `both_databases` says."""
    if getattr(request, "param", "sqlite") == "sqlite":
        return f"sqlite:///{tmp_path}/test.db"
    url: str = request.getfixturevalue("postgresql_url")
    postgresql.empty(url)
    return url


@pytest.fixture
def database(service: Service) -> Database:
    """The first open `Database` of the service of `app`."""
    from servekit.sql import find_database  # SQLAlchemy is an extra

    return find_database(service)
