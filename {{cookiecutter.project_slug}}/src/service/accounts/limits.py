"""How often somebody may try to log in, or register: enough for people, too few for guessing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from servekit.throttle import Attempt, Throttle, attempt

KNOWN_SECONDS = 30 * 24 * 3600

BY_USER_AND_ADDRESS = Throttle("login", attempts=5, seconds=60)
BY_ADDRESS = Throttle("login-address", attempts=10, seconds=60)
# A name from everywhere: a botnet has many addresses. Whoever keeps this full could lock the user
# out, so it does not count where the user has logged in before.
BY_USER = Throttle("login-user", attempts=50, seconds=900)
REGISTRATIONS = Throttle("registration", attempts=20, seconds=600)


@asynccontextmanager
async def login_attempt(username: str, address: str) -> AsyncIterator[Attempt]:
    """Count a login while it runs, and after it if it failed; raise a 429 for one too many.

    Passwords are hashed in between, so this also bounds how many of an address run at once.
    """
    limits = [BY_USER_AND_ADDRESS.of(username, address), BY_ADDRESS.of(address)]
    if not await BY_USER.knows(username, address):
        limits.append(BY_USER.of(username))
    async with attempt(*limits) as current:
        yield current
        if current.good:
            await BY_USER.remember(username, address, seconds=KNOWN_SECONDS)


@asynccontextmanager
async def registration_attempt(username: str, address: str) -> AsyncIterator[None]:
    """Count a registration by its address; the new user is known there."""
    async with attempt(REGISTRATIONS.of(address)):
        yield
        await BY_USER.remember(username, address, seconds=KNOWN_SECONDS)
