"""A database that is away at the start: the error begins with where it was looked for."""

import socket

import pytest
from hypothesis import given, strategies as st
from sqlalchemy import make_url
from sqlalchemy.exc import DBAPIError

from servekit.notation.database_url import parse_database_url
from servekit.sql import Database, connecting
from servekit.sql.connecting import place_of

AWAY = {
    "postgresql://u:s3cret@127.0.0.1:1/shop": "127.0.0.1:1/shop: [Errno 111] ",
    "postgresql://u:s3cret@127.0.0.1:1,127.0.0.1:2/shop": "127.0.0.1:1,127.0.0.1:2/shop: ",
    "postgresql://u:s3cret@nobody.invalid/shop": "nobody.invalid:5432/shop: [Errno ",
    "postgresql://u:s3cret@/shop?host=/nowhere": "/nowhere/shop: [Errno 2] No such file",
    "sqlite:////nowhere/shop.db": "/nowhere/shop.db: unable to open database file",
}


async def reason_of_start(url: str) -> str:
    with pytest.raises(DBAPIError) as raised:
        async with Database(url):
            pass
    assert "s3cret" not in str(raised.value)
    return str(raised.value).splitlines()[0]


@pytest.mark.parametrize("url", AWAY)
async def test_where_it_is_begins_the_reason(url):
    assert (await reason_of_start(url)).startswith(AWAY[url])


async def test_a_silent_one_has_a_reason_too(monkeypatch):
    monkeypatch.setattr(connecting, "CONNECT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place = f"127.0.0.1:{silent.getsockname()[1]}/shop"
        reason = await reason_of_start(f"postgresql://u:s3cret@{place}?sslmode=disable")
    assert reason == f"{place}: TimeoutError"


async def test_a_database_that_is_not_there_is_named(postgresql_url):
    url = make_url(postgresql_url).set(database="nowhere").render_as_string(hide_password=False)
    place, _, reason = (await reason_of_start(url)).partition(": ")
    assert place.endswith("/nowhere")
    assert 'database "nowhere" does not exist' in reason


@given(st.text(st.sampled_from("abc0.-_"), min_size=1, max_size=8).map("x{}x".format))
def test_nobodys_password_is_in_a_place(password):
    url = f"postgresql://user:{password}@db.example.com:6432/shop"
    assert place_of(parse_database_url(url)) == "db.example.com:6432/shop"
