"""A worker's own copies of sessions, looked at from outside."""

from tests.stores.workers import until

INVALIDATION_SECONDS = 0.1
BOUND_SECONDS = 1.2
"""A second by promise, and a little for a busy machine."""


def has_copy(store, token):
    return store._local.get(token.ref) is not None


async def settled(store, token):
    """Read until the worker has a copy: the invalidation of an earlier write drops it once."""

    async def read():
        await store.read(token)
        return has_copy(store, token)

    await until(read)


async def dead(store, token):
    return await store.read(token) is None
