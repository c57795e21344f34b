"""What a Redis URL says: one server, a Sentinel group or a Cluster, with or without TLS."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from servekit.notation.places import checked_socket_path
from servekit.notation.tls_files import check_authorities, check_certificate, readable
from servekit.notation.urls import ENCODE, Address, Refused, read_number, read_switch, split_url

PORT, SENTINEL_PORT = 6379, 26379
SCHEMES = {"redis": False, "rediss": True, "valkey": False, "valkeys": True}
BEGINS = (
    "a Redis URL begins with redis://, rediss:// (TLS), unix://, redis+sentinel:// or "
    "redis+cluster://"
)

Kind = Literal["standalone", "sentinel", "cluster"]


@dataclass(frozen=True)
class RedisUrl:
    """A parsed URL; `options` are keyword arguments of redis-py's connections."""

    kind: Kind
    options: dict[str, Any]
    tls: bool = False
    sentinels: tuple[tuple[str, int], ...] = ()
    service: str = ""
    sentinel_options: dict[str, Any] = field(default_factory=dict)


def parse_redis_url(url: str) -> RedisUrl:
    """Parse `redis[s]://`, `unix://`, `redis[s]+cluster://` or `redis[s]+sentinel://a:1,b:2/name`.

    Sentinel takes `?db=`, and `?sentinel_username=` and `?sentinel_password=` for the sentinels.
    A connection can be made of whatever is accepted.

    Raises:
        Refused: The URL is none of these, or has an option that means nothing here.
    """
    scheme, separator, _ = url.partition("://")
    base, _, kind = scheme.lower().partition("+")
    if not separator or base not in {*SCHEMES, "unix"}:
        raise Refused(f"{BEGINS}; this one does not")
    if kind not in {"", "sentinel", "cluster"} or (kind and base == "unix"):
        raise Refused(f"{BEGINS}; what follows the + is neither sentinel nor cluster")
    address = split_url(url)
    tls = SCHEMES.get(base, False)
    options = login(address) | read_redis_options(address.options, tls=tls)
    if kind != "sentinel" and any(name.startswith("sentinel_") for name in options):
        raise Refused("has an option for sentinels: write redis+sentinel://, or leave it out")
    if base == "unix":
        return RedisUrl("standalone", options | {"path": socket_path(address)})
    if not address.hosts:
        raise Refused("names no host")
    if kind == "sentinel":
        return sentinel_url(address, options, tls=tls)
    return one_address(address, options, tls=tls, kind="cluster" if kind else "standalone")


def login(address: Address) -> dict[str, Any]:
    """Return who logs in, as far as the address says it."""
    given = {"username": address.username, "password": address.password}
    return {name: value for name, value in given.items() if value}


def one_address(
    address: Address, options: dict[str, Any], *, tls: bool, kind: Literal["standalone", "cluster"]
) -> RedisUrl:
    """Return the URL of one server, or of a Cluster by one of its nodes."""
    if len(address.hosts) > 1:
        raise Refused("names several hosts; name one: a Cluster's client learns the others")
    [(host, port)] = address.hosts
    options = options | {"host": host, "port": port or PORT}
    number = address.path.strip("/")
    if number:
        if not re.fullmatch("[0-9]{1,9}", number):
            raise Refused(
                f"has a path that is no database number, as in redis://host:6379/0; {ENCODE}"
            )
        if options.setdefault("db", int(number)) != int(number):
            raise Refused("names two databases, in its path and as ?db=: leave one out")
    if kind == "cluster" and options.pop("db", 0):
        raise Refused("names a database; a Cluster has number 0 only")
    return RedisUrl(kind, options, tls=tls)


def sentinel_url(address: Address, options: dict[str, Any], *, tls: bool) -> RedisUrl:
    """Return the URL of a primary that sentinels know by a name."""
    service = address.path.strip("/")
    if not service or "/" in service:
        raise Refused("is not as a Sentinel URL: redis+sentinel://host:26379,host2:26379/name?db=0")
    own = {
        name.removeprefix("sentinel_"): options.pop(name)
        for name in ("sentinel_username", "sentinel_password")
        if name in options
    }
    return RedisUrl(
        "sentinel",
        options,
        tls=tls,
        sentinels=tuple((host, port or SENTINEL_PORT) for host, port in address.hosts),
        service=service,
        sentinel_options=own,
    )


def socket_path(address: Address) -> str:
    """Return the path of a unix socket."""
    if address.hosts or not address.path.strip("/"):
        raise Refused("names no path: unix:///run/redis.sock has three slashes")
    return checked_socket_path(address.path)


SAYING_TLS = {"ssl", "tls", "use_ssl", "use_tls"}
"""How other clients' URLs ask for TLS."""


def read_redis_options(given: dict[str, str], *, tls: bool) -> dict[str, Any]:
    """Return the options of a URL as redis-py takes them."""
    found = {}
    for name, text in given.items():
        if name in INSTEAD:
            raise Refused(f"has the option {name}: leave it out, and set {INSTEAD[name]}")
        if name in SAYING_TLS:
            raise Refused(f"has the option {name}: leave it out, and begin with rediss:// for TLS")
        if name not in OPTIONS:
            raise Refused(f"has the option {name}, which this client does not know: leave it out")
        if name.startswith("ssl_") and not tls:
            raise Refused(f"has the option {name} without TLS: write rediss://, or leave it out")
        found[name] = OPTIONS[name](name, text)
    if found.get("ssl_keyfile") and not found.get("ssl_certfile"):
        raise Refused("has ssl_keyfile without ssl_certfile")
    check_authorities("ssl_ca_certs", found.get("ssl_ca_certs"))
    names = ("ssl_certfile", "ssl_keyfile")
    check_certificate(names, found.get("ssl_certfile"), found.get("ssl_keyfile"))
    return found


def read_text(name: str, text: str) -> str:
    """Return what an option says."""
    if not text:
        raise Refused(f"has an empty {name}")
    return text


def read_name(name: str, text: str) -> str:
    """Return a name that Redis accepts for a client."""
    if not re.fullmatch("[!-~]+", text):
        raise Refused(f"has a {name} with blanks or special characters")
    return text


def read_protocol(name: str, text: str) -> int:
    """Return a version of the protocol."""
    if text not in {"2", "3"}:
        raise Refused(f"has a {name} other than 2 and 3")
    return int(text)


def read_requirement(name: str, text: str) -> str:
    """Return what is asked of the server's certificate; Python's names are understood."""
    word = text.lower().removeprefix("cert_")
    if word not in {"none", "optional", "required"}:
        raise Refused(f"has {name} other than required, optional and none")
    return word


OPTIONS: dict[str, Callable[[str, str], Any]] = {
    "db": read_number,
    "username": read_text,
    "password": read_text,
    "client_name": read_name,
    "health_check_interval": read_number,
    "protocol": read_protocol,
    "sentinel_username": read_text,
    "sentinel_password": read_text,
    "ssl_ca_certs": readable,
    "ssl_cert_reqs": read_requirement,
    "ssl_certfile": readable,
    "ssl_check_hostname": read_switch,
    "ssl_keyfile": readable,
}
"""The options that a connection of every kind of server takes."""

TIMES = "TIMEOUT_CACHE_MS and TIMEOUT_SESSION_MS"
INSTEAD = {
    "max_connections": "REDIS_CONNECTIONS",
    "socket_connect_timeout": "TIMEOUT_REDIS_CONNECT_MS",
    "socket_timeout": TIMES,
    "timeout": TIMES,
}
"""Options whose place is a setting."""
