"""What a database URL says: SQLite's file, or PostgreSQL in libpq's words, as platforms do."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, SecretStr

from servekit.notation.tls_files import check_authorities, check_certificate, is_folder, readable
from servekit.notation.urls import (
    ENCODE,
    Address,
    Refused,
    read_number,
    read_place,
    read_port,
    read_switch,
    refuse_placeholder,
    split_url,
)
from servekit.notation.words import unquoted

BEGINS = "a database URL begins with postgresql:// or sqlite:///"
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
STRICT = SSL_MODES[3:]
TARGETS = ("any", "primary", "standby", "prefer-standby", "read-write", "read-only")


@dataclass(frozen=True)
class DatabaseAddress:
    """A parsed URL; `arguments` are asyncpg's, `tls` what its context is made of."""

    backend: Literal["sqlite", "postgresql"]
    database: str
    username: str | None = None
    password: str | None = None
    hosts: tuple[tuple[str, int | None], ...] = ()
    arguments: dict[str, Any] = field(default_factory=dict)
    tls: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    """What whoever starts the service should know."""


def parse_database_url(url: str) -> DatabaseAddress:
    """Parse `sqlite:///file`, `sqlite:////absolute/file` or `postgres[ql]://…`.

    Raises:
        Refused: It is neither, or has a word that the driver cannot do.
    """
    url = unquoted(url.strip())
    if not url:
        raise Refused(f"is empty; {BEGINS}")
    scheme, separator, rest = url.partition("://")
    backend, _, driver = scheme.lower().partition("+")
    drivers = {"sqlite": "aiosqlite", "postgresql": "asyncpg", "postgres": "asyncpg"}
    if not separator or backend not in drivers:
        raise Refused(f"{BEGINS}; this one does not")
    if driver not in {"", drivers[backend]}:
        raise Refused(f"names a driver other than {drivers[backend]}: write {backend}://")
    if backend == "sqlite":
        return sqlite_address(rest)
    return postgresql_address(split_url(url))


def sqlite_address(rest: str) -> DatabaseAddress:
    """Return the address of a file, relative to the working directory or absolute."""
    refuse_placeholder(rest)
    slash, path = rest[:1], rest[1:]
    if slash != "/" or path in {"", ":memory:"}:
        raise Refused(
            "names no file: sqlite:///service.db is a file, sqlite:////data/service.db too"
        )
    if "?" in path or path.startswith("file:"):
        raise Refused("has options, and SQLite's URL here takes none: leave them out")
    if any(character < " " for character in path) or is_folder(path):
        raise Refused("names no file")
    return DatabaseAddress("sqlite", path)


def postgresql_address(address: Address) -> DatabaseAddress:
    """Return where a server is, and libpq's words as asyncpg has them."""
    words = Words()
    for name, text in address.options.items():
        if name not in WORDS:
            instead = INSTEAD.get(name, "leave it out")
            raise Refused(f"has the option {name}, which the driver does not know: {instead}")
        WORDS[name](words, name, text)
    database = words.place.get("dbname") or address.path.removeprefix("/")
    if "/" in database:
        raise Refused(f"has a database name with a slash; {ENCODE}")
    if re.search("[;&].*=", database):
        raise Refused("has a database name with options in it: they begin with `?`, as ?sslmode=…")
    return DatabaseAddress(
        "postgresql",
        database,
        username=words.place.get("user") or address.username,
        password=words.place.get("password") or address.password,
        hosts=places(words.place.get("host", ""), words.place.get("port", ""), address.hosts),
        arguments=words.arguments,
        tls=checked_tls(words.tls, direct=bool(words.arguments.get("direct_tls"))),
        notes=tuple(words.notes),
    )


def places(
    host: str, port: str, hosts: tuple[tuple[str, int | None], ...]
) -> tuple[tuple[str, int | None], ...]:
    """Return hosts and ports, of which the options may name some or all."""
    if host:
        hosts = tuple(read_place(each) for each in host.split(",") if each)
    ports = [read_port(each) for each in port.split(",")] if port else []
    if ports and len(ports) not in {1, len(hosts)}:
        raise Refused("has another number of ports than of hosts")
    if ports:
        hosts = tuple(
            (name, ports[index % len(ports)]) for index, (name, _) in enumerate(hosts or [("", 0)])
        )
    return tuple((name or "localhost", number) for name, number in hosts)


def checked_tls(tls: dict[str, str], *, direct: bool) -> dict[str, str]:
    """Return what TLS is made of, if it fits together."""
    if direct and tls.get("sslmode") not in STRICT:
        raise Refused("has sslnegotiation=direct without sslmode=require, verify-ca or verify-full")
    files = tls.keys() - {"sslmode"}
    if files and tls.get("sslmode") not in STRICT:
        raise Refused(f"has {min(files)} without sslmode=require, verify-ca or verify-full")
    if tls.get("sslrootcert") == "system" and tls["sslmode"] != STRICT[-1]:
        raise Refused("has sslrootcert=system, which needs sslmode=verify-full as in libpq")
    if "sslkey" in tls and "sslcert" not in tls:
        raise Refused("has sslkey without sslcert")
    authority = tls.get("sslrootcert")
    check_authorities("sslrootcert", None if authority == "system" else authority)
    names = ("sslcert", "sslkey")
    check_certificate(names, tls.get("sslcert"), tls.get("sslkey"), tls.get("sslpassword"))
    return tls


class Words:
    """What libpq's words have said so far."""

    def __init__(self) -> None:
        self.place: dict[str, str] = {}
        self.arguments: dict[str, Any] = {}
        self.tls: dict[str, str] = {}
        self.notes: list[str] = []


def one_of(name: str, text: str, words: tuple[str, ...]) -> str:
    """Return a word that is one of those allowed, in whatever case."""
    if text.lower() not in words:
        raise Refused(f"has {name} other than {', '.join(words)}")
    return text.lower()


def set_place(words: Words, name: str, text: str) -> None:
    """Note a part of the address that stands among the options."""
    words.place[name] = text


def set_server(words: Words, name: str, text: str) -> None:
    """Note what the server is told of the connection."""
    told = words.arguments.setdefault("server_settings", {})
    if name.startswith("fallback_"):
        told.setdefault(name.removeprefix("fallback_"), text)
    else:
        told[name] = text


def set_count(words: Words, name: str, text: str) -> None:
    """Note a number."""
    words.arguments[name] = read_number(name, text)


def set_pooler(words: Words, name: str, text: str) -> None:
    """Keep no prepared statements where a pooler hands connections on between transactions."""
    if read_switch(name, text):
        words.arguments |= {"prepared_statement_cache_size": 0, "statement_cache_size": 0}


def set_connect_seconds(words: Words, name: str, text: str) -> None:
    """Note a time limit; libpq's 0 is none of its own, and leaves ours."""
    if seconds := read_number(name, text):
        words.arguments["timeout"] = seconds


def set_command_seconds(words: Words, name: str, text: str) -> None:
    """Note a time limit; 0 is none."""
    words.arguments[name] = read_number(name, text) or None


def set_ssl_mode(words: Words, name: str, text: str) -> None:
    """Note how much TLS is asked for; `ssl=true` is how other drivers say require."""
    if name == "ssl" and text.lower() not in SSL_MODES:
        text = "require" if read_switch(name, text) else "disable"
    mode = one_of(name, text, SSL_MODES)
    if words.tls.get("sslmode", mode) != mode:
        raise Refused("has ssl and sslmode that contradict each other: leave ssl out")
    words.tls["sslmode"] = mode


def set_file(words: Words, name: str, text: str) -> None:
    """Note a file of TLS, which must be there; `system` are the authorities of this machine."""
    words.tls[name] = text if text == "system" else readable(name, text)


def set_tls_text(words: Words, name: str, text: str) -> None:
    """Note the password of a key."""
    words.tls[name] = text


def set_target(words: Words, name: str, text: str) -> None:
    """Note which of several servers is wanted."""
    words.arguments[name] = one_of(name, text, TARGETS)


def set_negotiation(words: Words, name: str, text: str) -> None:
    """Note whether TLS begins at once."""
    if one_of(name, text, ("postgres", "direct")) == "direct":
        words.arguments["direct_tls"] = True


def note_channel_binding(words: Words, name: str, text: str) -> None:
    """Accept what the driver does not speak, and say so where it was asked for."""
    if one_of(name, text, ("disable", "prefer", "require")) == "require":
        words.notes.append(
            "channel_binding is left out, which the driver does not speak: "
            "sslmode=verify-full proves the server instead"
        )


def accept_default(words: Words, name: str, text: str) -> None:  # noqa: ARG001 - as the others
    """Accept what the driver does anyway."""
    one_of(name, text, AS_THE_DRIVER[name])


AS_THE_DRIVER = {
    "client_encoding": ("auto", "utf8", "utf-8"),
    "gssencmode": ("disable", "prefer"),
}

WORDS: dict[str, Callable[[Words, str, str], None]] = {
    "application_name": set_server,
    "channel_binding": note_channel_binding,
    "client_encoding": accept_default,
    "command_timeout": set_command_seconds,
    "connect_timeout": set_connect_seconds,
    "dbname": set_place,
    "fallback_application_name": set_server,
    "gssencmode": accept_default,
    "host": set_place,
    "options": set_server,
    "password": set_place,
    "pgbouncer": set_pooler,
    "port": set_place,
    "prepared_statement_cache_size": set_count,
    "ssl": set_ssl_mode,
    "sslcert": set_file,
    "sslkey": set_file,
    "sslmode": set_ssl_mode,
    "sslnegotiation": set_negotiation,
    "sslpassword": set_tls_text,
    "sslrootcert": set_file,
    "statement_cache_size": set_count,
    "target_session_attrs": set_target,
    "user": set_place,
}
"""libpq's words that have a meaning here, two of the driver's, and how platforms name a pooler."""

SCHEMA = "write options=-csearch_path%3D… in its place"
POOL = "Database(url, connections=…) says how many there are"
INSTEAD = {
    "connection_limit": POOL,
    "currentschema": SCHEMA,
    "currentSchema": SCHEMA,
    "max_connections": POOL,
    "pool_size": POOL,
    "pool_timeout": "Database(url, wait_seconds=…) says how long one is waited for",
    "require_auth": "sslmode=verify-full proves who the server is",
    "schema": SCHEMA,
    "search_path": SCHEMA,
    "ssl_min_protocol_version": "TLS is 1.2 or newer anyway",
    "statement_timeout": "write options=-cstatement_timeout%3D… in its place",
}
"""What else people write, and how it is said here."""


def checked(url: SecretStr) -> SecretStr:
    """Return a database URL that can be used."""
    text = unquoted(url.get_secret_value())
    parse_database_url(text)
    return SecretStr(text)


DatabaseUrl = Annotated[SecretStr, AfterValidator(checked)]
"""The URL of a database as platforms write it, refused at the start when it cannot be used."""
