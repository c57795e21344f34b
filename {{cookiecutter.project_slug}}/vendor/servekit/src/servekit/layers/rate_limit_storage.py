"""The `limits` library over a Redis client of ours: its budget, its breaker, any topology."""

from __future__ import annotations

from typing import Any

from limits.aio.storage import RedisStorage


class ClientStorage(RedisStorage):
    """Storage that uses a given client: standalone, Sentinel's or a Cluster's.

    The library would build clients of its own for the last two. It reads its commands' answers
    in the same way from all of them.
    """

    STORAGE_SCHEME: list[str] = []

    def __init__(self, client: Any, *, prefix: str) -> None:
        self._client = client
        # The library puts a colon of its own behind it.
        super().__init__("redis://", implementation="redispy", key_prefix=prefix.removesuffix(":"))

    def configure_bridge(self) -> None:
        """Give the library our client instead of one of its own."""
        client = self._client
        self.bridge.storage = client  # type: ignore[attr-defined]
        self.bridge.connection_getter = lambda _: client  # type: ignore[attr-defined]
