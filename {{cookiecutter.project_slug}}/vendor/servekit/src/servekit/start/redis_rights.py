"""What a service asks of Redis, asked of keys that nobody else has: a user may lack rights."""

from __future__ import annotations

from contextlib import suppress
from secrets import token_hex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from servekit.redis.clients import RedisClients

TEXTS = "SET * 1 PX 9000", "GET *", "MGET *", "EXISTS *", "EXPIRE * 9", "UNLINK *"
HASHES = "HSET * a 1", "HGET * a", "HMGET * a", "HGETALL *", "PEXPIRE * 9000", "PTTL *", "HDEL * a"
SORTED = (
    *("ZADD * 1 a", "PEXPIRE * 9000", "ZSCORE * a", "ZCARD *", "ZRANGE * 0 -1"),
    *("ZREM * b", "ZREMRANGEBYSCORE * 0 1"),
)
LISTS = "LPUSH * a", "PEXPIRE * 9000", "LINDEX * 0", "LTRIM * 1 0"
EACH_PART = {
    "cache": TEXTS,
    "session": HASHES,
    "session-user": SORTED,
    "rate-limit": LISTS,
    "throttle": SORTED,
}
SCRIPT = "return redis.call('TIME')"


async def try_rights(clients: RedisClients) -> None:
    """Run what each part of a service runs, below its own prefix; raises what redis-py raises."""
    client = clients.sessions
    sha = await client.script_load(SCRIPT)
    for part, commands in EACH_PART.items():
        key = f"{clients.prefix(part)}connection-check:{token_hex(8)}"
        try:
            for command in commands:
                words = (key if word == "*" else word for word in command.split())
                await client.execute_command(*words)  # type: ignore[no-untyped-call] # redis-py's
            await client.eval(SCRIPT, 1, key)
            await client.evalsha(sha, 1, key)
            await client.scan(match=key, count=1)  # all of it would be a walk through the server
        except BaseException:
            with suppress(Exception):  # the first refusal is the answer
                await client.delete(key)
            raise
        await client.delete(key)
