"""Limits on what may be tried: logins, codes, registrations; exact over all workers and hosts."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from fastapi import HTTPException
from redis.exceptions import RedisError
from starlette.requests import HTTPConnection

from servekit.context import require_current_service
from servekit.errors import StoreUnavailable
from servekit.event_log import get_logger
from servekit.layers.rate_limit import LocalWindow, client_key
from servekit.redis.clients import RedisClients
from servekit.redis.script import Script

__all__ = ["Attempt", "Throttle", "attempt", "client_network"]

# ARGV: how many in the window, window in ms, name of this attempt. Returns ms to wait, 0 to go on.
HIT = Script(
    """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
if redis.call('ZCARD', KEYS[1]) < tonumber(ARGV[1]) then
  redis.call('ZADD', KEYS[1], now, ARGV[3])
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return 0
end
local oldest = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]
return math.max(1, oldest + ARGV[2] - now)
"""
)

log = get_logger()


class Throttle:
    """Lets whatever a key names be tried `attempts` times in any `seconds`; more are a 429.

    What is refused is not counted, so that a window empties whoever goes on trying. Only hashes of
    keys are stored. While Redis is away each worker counts for itself. Make it at module level and
    use it by `attempt`.
    """

    def __init__(self, name: str, *, attempts: int, seconds: int) -> None:
        self.name = name
        self.attempts = attempts
        self.seconds = seconds
        self._local = LocalWindow(attempts, seconds)

    def of(self, *key: str) -> Limit:
        """Return the limit of one key, for `attempt`."""
        return Limit(self, self._key("window", key))

    async def remember(self, *key: str, seconds: int) -> None:
        """Note a key as known for a while, such as a place from which a user has logged in."""
        with suppress(StoreUnavailable, RedisError):
            await redis().set(self._key("known", key), b"1", ex=seconds)

    async def knows(self, *key: str) -> bool:
        """Return whether a key is noted as known; False while Redis is away."""
        with suppress(StoreUnavailable, RedisError):
            return bool(await redis().exists(self._key("known", key)))
        return False

    def _key(self, kind: str, key: tuple[str, ...]) -> str:
        text = "".join(f"{len(part)}:{part}" for part in key)  # ("a", "bc") is not ("ab", "c")
        prefix = clients().prefix("throttle")
        return f"{prefix}{self.name}:{kind}:{sha256(text.encode()).hexdigest()[:32]}"

    async def hit(self, key: str, member: str) -> float:
        """Count an attempt; return the seconds to wait, 0 when it may go on."""
        try:
            waiting = await HIT(redis(), key, self.attempts, self.seconds * 1000, member)
            return float(waiting) / 1000
        except (StoreUnavailable, RedisError):
            return self._local.hit(key, time.time())

    async def _forgive(self, key: str, member: str) -> None:
        """Take an attempt back, wherever it was counted."""
        self._local.take_back(key)
        with suppress(StoreUnavailable, RedisError):
            await redis().zrem(key, member)


@dataclass(frozen=True)
class Limit:
    """One key of a throttle."""

    throttle: Throttle
    key: str


class Attempt:
    """What is being tried; `succeeded()` says that it shall not count."""

    def __init__(self) -> None:
        self.counted: list[Limit] = []
        self.member = secrets.token_hex(8)
        self.good = False

    def succeeded(self) -> None:
        """Do not count this attempt: whoever knows the password is not guessing it."""
        self.good = True

    async def forgive(self) -> None:
        """Take back what was counted."""
        for limit in self.counted:
            await limit.throttle._forgive(limit.key, self.member)  # noqa: SLF001 - its own module
        self.counted.clear()


@asynccontextmanager
async def attempt(*limits: Limit) -> AsyncIterator[Attempt]:
    """Count an attempt by every limit for as long as it runs, and after it unless it succeeded.

    Raises:
        HTTPException: 429 with Retry-After; then none of the limits has counted it.
    """
    current = Attempt()
    for limit in limits:
        waiting = await limit.throttle.hit(limit.key, current.member)
        if waiting > 0:
            await current.forgive()
            log.warning("attempt_throttled", throttle=limit.throttle.name)
            headers = {"Retry-After": str(math.ceil(waiting))}
            raise HTTPException(429, "Too many attempts; try again later.", headers=headers)
        current.counted.append(limit)
    try:
        yield current
    finally:  # what fails afterwards makes no guess of it
        if current.good:
            await current.forgive()


def client_network(connection: HTTPConnection) -> str:
    """Return whom a request counts for: its IPv4 address, or its IPv6 network of 64 bits."""
    return client_key({"client": connection.client})  # not its scope: a cached route is to hear


def clients() -> RedisClients:
    found: RedisClients = require_current_service().redis
    return found


def redis() -> Any:
    return clients().rate_limit
