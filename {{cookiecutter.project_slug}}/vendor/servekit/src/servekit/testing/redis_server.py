"""A real Valkey for the tests of a session."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

import redis
from servekit.redis.embedded import EmbeddedServer


@pytest.fixture(scope="session")
def redis_server() -> Iterator[EmbeddedServer]:
    """A Valkey of this session's own, which ends with it however it ends."""
    with EmbeddedServer() as server:
        yield server


@pytest.fixture
def redis_url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty Redis: that of TEST_REDIS_URL, or one of our own."""
    url = os.environ.get("TEST_REDIS_URL") or request.getfixturevalue("redis_server").url
    with redis.Redis.from_url(url) as client:
        client.flushall()
    return str(url)
