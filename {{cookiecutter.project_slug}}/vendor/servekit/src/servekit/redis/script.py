"""Lua scripts of one key each, which hold on a Cluster."""

from __future__ import annotations

from hashlib import sha1
from typing import Any

from redis.exceptions import NoScriptError


class Script:
    """A Lua script of one key, sent by its hash and in full when the server does not know it."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._sha = sha1(text.encode(), usedforsecurity=False).hexdigest()

    async def __call__(self, client: Any, key: str, *arguments: Any) -> Any:
        try:
            return await client.evalsha(self._sha, 1, key, *arguments)
        except NoScriptError:
            return await client.eval(self._text, 1, key, *arguments)
