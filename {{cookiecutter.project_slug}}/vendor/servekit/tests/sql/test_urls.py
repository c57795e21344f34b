"""What a database URL says, in the words of libpq, is what the driver is told."""

import ssl
from inspect import signature as inspect_signature

import asyncpg
import pytest
from sqlalchemy import (
    text,
)

from servekit.notation.database_url import parse_database_url
from servekit.sql import Database, connecting

REWRITTEN: dict[str, dict[str, object]] = {
    "postgres://u:p%23@h/db": {"dsn": "postgresql+asyncpg://u:p%23@h/db"},
    "postgresql+asyncpg://u@h:1/db": {"dsn": "postgresql+asyncpg://u@h:1/db"},
    "postgresql://h/db?sslmode=require": {"ssl": "require"},
    "postgresql://h/db?ssl=true": {"ssl": "require"},
    "postgresql://h/db?connect_timeout=9": {"timeout": 9},
    "postgresql://h/db?connect_timeout=0": {"timeout": connecting.CONNECT_SECONDS},
    "postgresql://h/db?command_timeout=3600": {"command_timeout": 3600},
    "postgresql://h/db?command_timeout=0": {"command_timeout": None},
    "postgresql://h/db?application_name=a%20b": {"server_settings": {"application_name": "a b"}},
    "postgresql://h/db?fallback_application_name=b&application_name=a": {
        "server_settings": {"application_name": "a"}
    },
    "postgresql://h/db?options=-c%20a%3D1": {"server_settings": {"options": "-c a=1"}},
    "postgresql://a:1,b/db?target_session_attrs=read-write": {
        "host": ["a", "b"], "port": [1, 5432], "target_session_attrs": "read-write",
    },
    "postgresql://u@/db?host=/run/pg": {"host": ["/run/pg"], "port": [5432]},
    "postgresql:///db?host=h&port=5433&user=u": {"dsn": "postgresql+asyncpg://u@h:5433/db"},
    "postgresql://h/db?sslmode=require&sslnegotiation=direct": {"direct_tls": True},
    "postgresql://h/db?statement_cache_size=0": {"statement_cache_size": 0},
    "postgresql://h/db?pgbouncer=true": {
        "prepared_statement_cache_size": 0, "statement_cache_size": 0,
    },
    "postgresql://h/db?pgbouncer=false": {"dsn": "postgresql+asyncpg://h/db"},
    "sqlite:///a/b.db": {"dsn": "sqlite+aiosqlite:///a/b.db"},
    "sqlite:////a b/c.db": {"dsn": "sqlite+aiosqlite:////a b/c.db"},
}  # fmt: skip


@pytest.mark.parametrize("url", REWRITTEN)
def test_a_url_in_the_words_of_libpq_is_one_in_those_of_the_driver(url):
    address = parse_database_url(url)
    dsn = connecting.url_of(address).render_as_string(hide_password=False)
    said = {"dsn": dsn, **connecting.connect_arguments(address)}
    assert {name: said[name] for name in REWRITTEN[url]} == REWRITTEN[url]
    accepted = {*inspect_signature(asyncpg.connect).parameters, "async_creator_fn", "dsn"}
    accepted |= {"prepared_statement_cache_size", "prepared_statement_name_func"}  # SQLAlchemy's
    assert address.backend == "sqlite" or said.keys() <= accepted


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ("sslmode=verify-full", (ssl.CERT_REQUIRED, True)),
        ("sslmode=verify-full&sslrootcert=system", (ssl.CERT_REQUIRED, True)),
        ("sslmode=verify-ca", (ssl.CERT_REQUIRED, False)),
    ],
)
def test_what_is_asked_of_a_servers_certificate_is_asked(words, asked):
    context = connecting.tls_of(parse_database_url(f"postgresql://h/db?{words}").tls)
    assert isinstance(context, ssl.SSLContext)
    assert (context.verify_mode, context.check_hostname) == asked


async def test_a_server_is_told_what_the_url_says(postgresql_url):
    joined = "&" if "?" in postgresql_url else "?"
    words = "application_name=shop&options=-c%20statement_timeout%3D4321&connect_timeout=10"
    words += "&sslmode=disable&channel_binding=prefer&gssencmode=disable&client_encoding=utf8"
    url = postgresql_url.replace("postgresql", "postgres", 1).replace("+asyncpg", "")
    async with Database(f"{url}{joined}{words}") as database, database.engine.connect() as one:
        assert await one.scalar(text("SHOW application_name")) == "shop"
        assert await one.scalar(text("SHOW statement_timeout")) == "4321ms"
