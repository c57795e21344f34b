import datetime as dt
import subprocess
import sys
import uuid
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, StrEnum
from pathlib import PurePosixPath
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings, strategies as st
from pydantic import BaseModel, PrivateAttr, TypeAdapter

from servekit.cache.keys.templates import key_maker, tag_maker
from servekit.cache.keys.text import key_text


class Colour(Enum):
    RED = 1
    TEXT = "1"


class Size(StrEnum):
    ONE = "1"


class Money(NamedTuple):
    amount: int
    currency: str = "EUR"


@dataclass(frozen=True)
class Point:
    x: Any
    y: Any = 0


class Place(BaseModel, frozen=True):
    x: Any
    y: Any = 0
    _hidden: Any = PrivateAttr(default=None)


class Name(str):
    __slots__ = ()


TEXTS = st.one_of(
    st.text(max_size=6),
    st.sampled_from(
        ["None", "True", "1", "-1", "1.0", "nan", "", "'", "'1", "!None", "a:b", "%3A", "{x}", "[]"]
    ),
)
PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.integers(),
    st.floats(allow_nan=False),
    TEXTS,
    TEXTS.map(Name),
    st.binary(max_size=4),
    st.uuids(),
    st.decimals(allow_nan=False),
    st.dates(),
    st.times(),
    st.datetimes(timezones=st.sampled_from([None, dt.UTC, ZoneInfo("Europe/Berlin")])),
    st.timedeltas(),
    st.sampled_from([*Colour, *Size]),
    TEXTS.map(PurePosixPath),
)
ARGUMENTS = st.recursive(
    PLAIN,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(TEXTS, inner, max_size=2),
        st.builds(Point, inner, inner),
        st.builds(Place, x=inner, y=inner),
        st.builds(Money, st.integers(0, 2), TEXTS),
    ),
    max_leaves=5,
)


def shape(value: object) -> object:
    """Return what tells a value from all others, types included: what two keys may not mix up."""
    if isinstance(value, list | tuple):
        return (type(value), tuple(map(shape, value)))
    if isinstance(value, dict):
        return (dict, frozenset((shape(key), shape(each)) for key, each in value.items()))
    if isinstance(value, Point | Place):
        return (type(value), shape(value.x), shape(value.y))
    if isinstance(value, dt.datetime | dt.time):
        zone = value.tzinfo.key if isinstance(value.tzinfo, ZoneInfo) else None
        return (type(value), value.isoformat(), value.fold, zone)
    if isinstance(value, float | Decimal):
        return (type(value), repr(value))  # -0.0 and 1.0 are not 0.0 and 1.00
    return (type(value), value)


async def pair(x, y=1):
    pass


@settings(max_examples=500)
@given(ARGUMENTS, ARGUMENTS)
@example(None, "None")
@example(1, "1")
@example(True, "True")
@example(True, 1)
@example(1, 1.0)
@example("", None)
@example("'1", "1")
@example(b"a", "b'a'")
@example(Point(1), Place(x=1))
@example((1, "a"), [1, "a"])
@example([1, "a,2"], [1, "a", 2])
@example(Colour.RED, Colour.TEXT)
@example(Size.ONE, "1")
@example(Name("a"), "a")
def test_two_arguments_have_one_key_only_if_they_are_one_of_one_type(x, y):
    key = key_maker("pair:{x}", lambda x: x)

    assert (key(x) == key(y)) == (shape(x) == shape(y))


@settings(max_examples=300)
@given(ARGUMENTS, ARGUMENTS, ARGUMENTS, ARGUMENTS)
@example("a:b", "c", "a", "b:c")
def test_two_calls_have_one_key_only_if_their_arguments_are_the_same(x, y, x2, y2):
    key = key_maker("pair:{x}:{y}", pair)

    assert (key(x, y) == key(x2, y2)) == (shape((x, y)) == shape((x2, y2)))


@given(ARGUMENTS, ARGUMENTS)
def test_arguments_by_name_by_place_and_by_default_have_the_same_key(x, y):
    key = key_maker("pair:{x}:{y}", pair)

    assert key(x, y) == key(x, y=y) == key(y=y, x=x)
    assert key(x) == key(x, 1)


def test_a_key_is_the_same_in_every_process():
    values = "[frozenset('abcdef'), {'b': {1, 2}, 'a': None}, Decimal('1.5'), Path('/a'), {b'a'}]"
    program = (
        "from decimal import Decimal; from pathlib import PurePosixPath as Path\n"
        f"from servekit.cache.keys.text import key_text; print([key_text(v) for v in {values}])"
    )
    run = [sys.executable, "-c", program]
    texts = {
        subprocess.run(run, env={"PYTHONHASHSEED": seed}, capture_output=True, check=True).stdout
        for seed in ("1", "2", "3")
    }
    assert len(texts) == 1


def test_what_means_one_moment_or_id_to_a_route_and_to_a_driver_has_one_key():
    class DriversUUID(uuid.UUID):
        """As asyncpg makes them."""

    class FrozenTime(dt.datetime):
        """As tests make them."""

    number = uuid.uuid4()
    now = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
    parsed = TypeAdapter(dt.datetime).validate_python("2026-03-01T12:00:00Z")

    assert key_text(DriversUUID(str(number))) == key_text(number)
    assert key_text(parsed) == key_text(now)
    assert key_text(FrozenTime(2026, 3, 1, 12, tzinfo=dt.UTC)) == key_text(now)


def test_keys_read_well():
    async def page(category, number):
        pass

    key = key_maker("page:{category}:{number}", page)
    assert key("chairs", 2) == "page:chairs:2"
    assert key("red chairs", -2) == "page:red chairs:-2"
    assert key("2", None) == "page:'2:!None"


def test_fields_may_be_attributes_and_formats():
    async def orders(user, page, trace=None):
        pass

    key = key_maker("orders:{user.x}:{user.y}:{page:03}", orders)

    assert key(Point(7, "a:b"), 2, trace=uuid.uuid4()) == "orders:7:a%3Ab:002"
    assert key(Point("7", None), 2) == "orders:'7:!None:002"


def test_every_kind_of_parameter_makes_a_key():
    async def search(type, /, int, *words, limit=10, **more):  # noqa: A002 - as a user may name them
        pass

    key = key_maker("search:{type}:{int}:{words}:{limit}:{more}", search)

    assert key(1, 2) == "search:1:2:!():10:!{}".replace("()", "(,)")
    assert key(1, 2, "a", limit=3, z="b") == "search:1:2:!('a',):3:!{'z'='b'}"
    with pytest.raises(TypeError, match=r"search\(\) missing"):
        key(1)
    with pytest.raises(TypeError, match="positional"):
        key(type=1, int=2)


def test_a_bound_method_has_no_self():
    class Shelf:
        async def load(self, number: int) -> int:
            return number

    assert key_maker("shelf:{number}", Shelf().load)(number=7) == "shelf:7"


def test_a_field_that_is_no_parameter_is_refused():
    for make in (key_maker, tag_maker):
        with pytest.raises(ValueError, match="no parameter 'z'"):
            make("pair:{z}", pair)


@pytest.mark.parametrize("template", ["{x}{y}", "pair:{x}-{y}", "{x!s}{y:03}"])
def test_fields_that_no_colon_divides_are_refused(template):
    with pytest.raises(ValueError, match="need a colon between"):
        key_maker(template, pair)


def test_a_value_is_not_taken_for_one_that_differs_in_what_is_private():
    a, b = Place(x=1), Place(x=1)
    object.__setattr__(b, "__pydantic_private__", {"_hidden": 2})
    assert key_text(a) != key_text(b)


@given(PLAIN)
def test_a_tag_is_what_a_writer_writes_by_hand(value):
    tag = tag_maker("category:{x}", pair)(value)
    assert tag == f"category:{value}"
