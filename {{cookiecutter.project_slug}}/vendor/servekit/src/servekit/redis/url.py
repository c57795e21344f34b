"""What a Redis URL says: one server, a Sentinel group or a Cluster, with or without TLS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from redis.asyncio.connection import SSLConnection, parse_url

from servekit.redis.tls import TlsConnection

SENTINEL_PORT = 26379


@dataclass(frozen=True)
class RedisUrl:
    """A parsed URL; `options` are keyword arguments of redis-py's connections."""

    kind: Literal["standalone", "sentinel", "cluster"]
    options: dict[str, Any]
    tls: bool = False
    sentinels: tuple[tuple[str, int], ...] = ()
    service: str = ""


def parse_redis_url(url: str) -> RedisUrl:
    """Parse `redis[s]://`, `unix://`, `redis[s]+cluster://` or `redis[s]+sentinel://a:1,b:2/name`.

    Sentinel takes `?db=`, and `?sentinel_username=` and `?sentinel_password=` for the sentinels.

    Raises:
        ValueError: The URL is none of these.
    """
    scheme, separator, rest = url.partition("://")
    base, _, kind = scheme.partition("+")
    if not separator or base not in {"redis", "rediss", "unix"}:
        raise ValueError(
            "A Redis URL starts with redis://, rediss://, unix:// or redis+sentinel://."
        )
    if kind == "sentinel":
        return _parse_sentinel(rest, tls=base == "rediss")
    if kind not in {"", "cluster"}:
        raise ValueError(f"redis+{kind}:// is no Redis URL: use redis+sentinel or redis+cluster.")
    options: dict[str, Any] = dict(parse_url(f"{base}://{rest}"))
    tls = options.get("connection_class") is SSLConnection
    if tls:
        options["connection_class"] = TlsConnection
    if kind == "cluster":
        options.pop("connection_class", None)
        return RedisUrl("cluster", options, tls=tls)
    return RedisUrl("standalone", options, tls=tls)


def _parse_sentinel(rest: str, *, tls: bool) -> RedisUrl:
    address, _, query = rest.partition("?")
    hosts, _, service = address.partition("/")
    login, _, hosts = hosts.rpartition("@")
    if not service or not hosts:
        raise ValueError("A Sentinel URL is redis+sentinel://host:port,host2:port/service_name.")
    parameters = dict(parse_qsl(query))
    own = {
        name.removeprefix("sentinel_"): parameters.pop(name)
        for name in ("sentinel_username", "sentinel_password")
        if name in parameters
    }
    # The parser of redis-py knows the types of the options.
    options: dict[str, Any] = dict(parse_url(f"redis://{login}@h?{urlencode(parameters)}"))
    options.pop("host")
    sentinels = []
    for host in hosts.split(","):
        parts = urlsplit(f"//{host}")
        sentinels.append((unquote(parts.hostname or ""), parts.port or SENTINEL_PORT))
    options["sentinel_kwargs"] = own
    return RedisUrl("sentinel", options, tls=tls, sentinels=tuple(sentinels), service=service)
