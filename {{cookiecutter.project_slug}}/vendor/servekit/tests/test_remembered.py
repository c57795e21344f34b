"""What clients send is remembered in few bytes, whatever its size."""

from pathlib import Path
from typing import Any, cast

import pytest

from servekit.layers.proxy_headers import parse_client
from servekit.layers.root_path import prefix_of
from servekit.remembered import SIZE_MAX, remembered
from servekit.response_cache import key, rfc9111

SOURCE = Path(__file__).parents[1] / "src" / "servekit"
LONG = b"x" * (SIZE_MAX + 1)
OF_CLIENTS = [
    (rfc9111.parse_cache_control, (LONG,)),
    (rfc9111.http_date, (LONG,)),
    (rfc9111._names, (LONG,)),
    (key.visible_query, (LONG, frozenset({"a"}))),
    (key.visible_cookies, (b"a=" + LONG, frozenset({"a"}))),
    (key._key, ("http", b"localhost", LONG, b"", b"")),
    (parse_client, (LONG.decode(),)),
    (prefix_of, ("/" + LONG.decode(),)),
]


def test_short_texts_are_asked_for_once_and_long_ones_each_time():
    asked = []

    @remembered(2)
    def double(text: str, more: str = "") -> str:
        asked.append(text)
        return text + text + more

    for text in ["a", "a", "b" * (SIZE_MAX + 1), "b" * (SIZE_MAX + 1), "a"]:
        assert double(text) == text + text
    double("b" * SIZE_MAX, "c")  # together they are longer
    assert [text[0] for text in asked] == ["a", "b", "b", "b"]
    assert cast("Any", double).kept.cache_info().currsize == 1


@pytest.mark.parametrize(("function", "arguments"), OF_CLIENTS)
def test_long_texts_of_clients_are_not_kept(function, arguments):
    before = function.kept.cache_info()
    function(*arguments)
    assert function.kept.cache_info() == before


def test_nothing_else_of_clients_is_remembered_without_a_bound_in_bytes():
    uses = {
        str(file.relative_to(SOURCE))
        for file in SOURCE.rglob("*.py")
        if "lru_cache" in file.read_text() or "@remembered" in file.read_text()
    }
    held = {function.__module__.removeprefix("servekit.") for function, _ in OF_CLIENTS}
    of_no_client = {
        "offload/route_threads.py",
        "diagnosis/remedies.py",
        "diagnosis/source.py",
        "own_code.py",
        "remembered.py",
    }
    assert {name.replace(".", "/") + ".py" for name in held} == uses - of_no_client
