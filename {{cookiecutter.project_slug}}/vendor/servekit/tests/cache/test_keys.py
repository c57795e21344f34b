import uuid
from dataclasses import dataclass

import pytest
from hypothesis import given, strategies as st

from servekit.cache.keys import KeySpace, key_maker

values = st.one_of(st.integers(), st.text(), st.uuids(), st.sampled_from(["1:2", "%3A", "}", ""]))


async def pair(x, y=1):
    pass


@given(values, values, values, values)
def test_other_arguments_have_other_keys(x, y, x2, y2):
    key = key_maker("pair:{x}:{y}", pair)

    assert (key(x, y) == key(x2, y2)) == ((str(x), str(y)) == (str(x2), str(y2)))


@given(values, values)
def test_arguments_by_name_and_by_place_have_the_same_key(x, y):
    key = key_maker("pair:{x}:{y}", pair)

    assert key(x, y) == key(x, y=y) == key(y=y, x=x)
    assert key(x) == key(x, 1)


def test_fields_may_be_attributes_and_formats():
    @dataclass
    class User:
        id: int
        name: str

    async def orders(user, page, trace=None):
        pass

    key = key_maker("orders:{user.id}:{user.name}:{page:03}", orders)

    assert key(User(7, "a:b"), 2, trace=uuid.uuid4()) == "orders:7:a%3Ab:002"


def test_a_field_that_is_no_parameter_is_refused():
    with pytest.raises(ValueError, match="no parameter 'z'"):
        key_maker("pair:{z}", pair)


@given(st.text())
def test_redis_keys_give_their_names_back(name):
    keys = KeySpace("cache")
    for kind in ("entry", "lease", "tag"):
        raw = getattr(keys, kind)(name).encode(errors="replace")
        if "?" not in raw.decode() and name and name[0] != "}":
            assert keys.split(raw) == (kind[0], name)


@pytest.mark.parametrize("namespace", ["", "a{b", "a*"])
def test_a_namespace_with_signs_of_patterns_is_refused(namespace):
    with pytest.raises(ValueError, match="namespace"):
        KeySpace(namespace)
