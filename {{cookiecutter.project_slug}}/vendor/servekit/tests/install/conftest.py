"""A service that is not opened: nothing listens at its Redis."""

import pytest

from servekit import Service, Settings


@pytest.fixture
def service(monkeypatch) -> Service:
    monkeypatch.setenv("REDIS_URL", "redis://localhost")
    return Service(Settings())
