"""Where entries, their leases and tags stand in Redis."""

from __future__ import annotations

ENTRY, LEASE, TAG, PATTERN = "e", "l", "t", "pattern"
"""Kinds of what is removed; but for the last, they stand in the keys of Redis."""


class KeySpace:
    """Redis keys under one prefix: `shop:cache:e:{product:7}`, its lease, and tags.

    The braces put an entry and its lease on the same node of a Cluster. A key or tag that is no
    text raises TypeError: 7 and "7" would be one.
    """

    def __init__(self, prefix: str) -> None:
        if not prefix or set(prefix) & set("{}*?[]\\"):
            raise ValueError(f"The prefix {prefix!r} may hold none of {{}}*?[]\\ .")
        self.prefix = prefix
        self._cut = len(prefix)

    def entry(self, key: str) -> str:
        return f"{self.prefix}e:{{{_tagged(key)}}}"

    def lease(self, key: str) -> str:
        return f"{self.prefix}l:{{{_tagged(key)}}}"

    def tag(self, tag: str) -> str:
        return f"{self.prefix}t:{{{_tagged(tag)}}}"

    def split(self, raw: bytes) -> tuple[str, str]:
        """Return kind and name of a Redis key under the prefix."""
        text = raw[self._cut :].decode(errors="replace")
        name = text[3:-1]
        return text[:1], name.removeprefix(" ")


def _tagged(name: str) -> str:
    if not isinstance(name, str):
        raise TypeError(f"A key or tag of the cache is text, not {name!r}.")
    # "{}" is no hash tag: an entry and its lease would part.
    return f" {name}" if not name or name[0] in "} " else name
