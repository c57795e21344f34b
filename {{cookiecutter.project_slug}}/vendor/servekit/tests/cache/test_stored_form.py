"""A value is what decoding its stored form gives: to the first caller as to the thousandth."""

import asyncio
import datetime as dt
import math
import uuid
from collections.abc import Callable, Iterator
from dataclasses import InitVar, dataclass, field
from decimal import Decimal
from enum import Enum
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from pydantic import BaseModel, ConfigDict, Field, SecretBytes, SecretStr, computed_field
from typing_extensions import TypedDict

from servekit.cache.cache import Cache
from servekit.cache.codecs import NotEncodable, codec_of
from tests.stores.proxy import Proxy
from tests.stores.workers import until, worker


class Colour(Enum):
    RED = "red"


class Base(BaseModel):
    id: int = Field(alias="ID", default=1)
    tags: list[str] = []

    model_config = ConfigDict(populate_by_name=True)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def double(self) -> int:
        return 2 * self.id


class Sub(Base):
    extra: str = "more than its base says"


class Open(BaseModel, extra="allow"):
    when: dt.datetime
    anything: Any = None


@dataclass
class Point:
    x: float
    y: tuple[int, ...] = ()


class Pair(NamedTuple):
    left: int
    right: str = ""


class Row(TypedDict, total=False):
    id: int
    name: str


floats = st.floats()
moments = st.datetimes(timezones=st.sampled_from([None, dt.UTC]))
loose = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), floats, st.text(), moments, st.uuids()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.one_of(st.text(), st.integers()), inner, max_size=3),
        st.frozensets(st.integers(), max_size=3),
    ),
    max_leaves=6,
)
bases = st.one_of(
    st.builds(Base, id=st.integers(), tags=st.lists(st.text(), max_size=2)),
    st.builds(Sub, id=st.integers(), extra=st.text()),
)

CASES: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (Any, loose),
    (dict, st.dictionaries(st.text(), loose, max_size=3)),
    (list, st.lists(loose, max_size=3)),
    (tuple, st.lists(loose, max_size=3).map(tuple)),
    (float, floats),
    (list[float], st.lists(floats, max_size=3)),
    (Decimal, st.decimals()),
    (int | str, st.one_of(st.integers(), st.text())),
    (float | str, st.one_of(floats, st.text())),
    (dt.datetime | str, st.one_of(moments, st.text())),
    (dt.date | dt.datetime, st.one_of(st.dates(), moments)),
    (dt.timedelta, st.timedeltas()),
    (bytes | None, st.one_of(st.none(), st.binary())),
    (list[bytes], st.lists(st.binary(), max_size=2)),
    (uuid.UUID | int, st.one_of(st.uuids(), st.integers())),
    (set[int], st.sets(st.integers(), max_size=3)),
    (dict[int | str, int], st.dictionaries(st.one_of(st.integers(), st.text()), st.integers())),
    (Base, bases),
    (list[Base], st.lists(bases, max_size=2)),
    (Base | Sub, bases),
    (Open, st.builds(Open, when=moments, anything=loose, more=loose)),
    (Point, st.builds(Point, floats, st.lists(st.integers(), max_size=2).map(tuple))),
    (Pair, st.builds(Pair, st.integers(), st.text())),
    (Row, st.fixed_dictionaries({}, optional={"id": st.integers(), "name": st.text()})),
    (Colour, st.sampled_from(Colour)),
    (object, loose),
]
typed_values = st.one_of([st.tuples(st.just(kind), values) for kind, values in CASES])


@settings(max_examples=600, suppress_health_check=[HealthCheck.too_slow])
@given(typed_values)
def test_what_is_read_back_stays_what_it_is(case):
    kind, value = case
    codec = codec_of(kind)
    try:
        data = codec.dumps(value)
        first = codec.read_back(value, data)
    except NotEncodable:
        return  # nobody is given what was stored: nothing was
    assert shape(codec.loads(data)) == shape(first)
    assert shape(codec.loads(codec.dumps(first))) == shape(first), "nor does it change by staying"


@pytest.fixture(scope="module")
def loop():
    """One loop for all examples: the workers live as long as the test."""
    with asyncio.Runner() as runner:
        yield runner


def test_first_second_and_other_callers_get_the_same(redis_url, loop):
    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(typed_values)
    def check(workers, case):
        kind, value = case
        caches, number = workers, uuid.uuid4()

        async def load(number: uuid.UUID) -> Any:
            return value

        load.__annotations__["return"] = kind
        readers = [each.cached("typed:{number}", ttl_seconds=60)(load) for each in caches]

        async def read() -> list[Any]:
            seen = [await readers[0](number), await readers[0](number)]
            seen += [await readers[1](number), await readers[1](number)]
            with caches[0].bypass():
                seen.append(await readers[0](number))
            await readers[1].delete(number)
            seen.append(await readers[1].refresh(number))
            return seen

        seen = loop.run(read())
        assert len({repr(shape(each)) for each in seen}) == 1, seen

    async def opened():
        workers = [worker(redis_url), worker(redis_url), worker(redis_url, enabled=False)]
        return workers, [await each.__aenter__() for each in workers]

    workers, caches = loop.run(opened())
    try:
        check(caches)
    finally:
        for each in workers:
            loop.run(each.__aexit__(None, None, None))


async def test_values_that_are_set_while_redis_is_away_are_no_exception(redis_server, redis_url):
    async with Proxy(str(redis_server.path)) as proxy, worker(proxy.url, budget=0.2) as cache:
        await proxy.refuse()
        await until(lambda: not cache.coherent)
        await cache.set("a", {"when": dt.date(2026, 1, 1), "pair": (1, 2)}, ttl_seconds=60)

        assert await cache.get("a", dict) == {"when": "2026-01-01", "pair": [1, 2]}


async def test_a_value_that_does_not_come_back_is_not_set(redis_url):
    async with worker(redis_url) as cache:
        for value, kind in ((math.nan, int), ("1", bytes), ({1, 2}, dict)):
            with pytest.raises(TypeError):
                await cache.set("a", value, ttl_seconds=60, kind=kind)
            with pytest.raises(TypeError):
                await cache.set_many({"a": value}, ttl_seconds=60, kind=kind)
        with pytest.raises(TypeError, match="asterisks"):
            await cache.set("a", SecretStr("secret"), ttl_seconds=60)


class Excluding(BaseModel):
    seen: int
    hidden: int = Field(default=1, exclude=True)


class ExcludingSome(BaseModel):
    hidden: int = Field(default=5, exclude_if=lambda value: value == 0)


class Guarded(BaseModel):
    password: SecretStr | None = None


class Opaque(BaseModel, arbitrary_types_allowed=True):
    cache: Cache


class Tree(BaseModel):
    children: "list[Tree]" = []
    hidden: int = Field(default=1, exclude=True)


@dataclass
class Starting:
    seed: InitVar[int]


@dataclass
class Computed:
    x: int
    y: int = field(init=False, default=7)


LOSSY: dict[str, list[Any]] = {
    "asterisks": [SecretStr, SecretBytes, Guarded, list[Guarded], dict[str, SecretStr] | None],
    "'hidden' is excluded": [
        *(Excluding, Tree, ExcludingSome),
        tuple[Excluding, ...],
    ],
    "not read back": [Starting],
    "cannot be cached": [Opaque, Cache, Iterator[int], Callable[[], int], type[int]],
}


@pytest.mark.parametrize(
    ("reason", "kind"), [(reason, kind) for reason, kinds in LOSSY.items() for kind in kinds]
)
async def test_a_type_that_does_not_come_back_is_refused_when_declared(redis_url, reason, kind):
    async def read(number: int) -> Any:
        return number

    read.__annotations__["return"] = kind
    async with worker(redis_url, enabled=False) as cache:
        with pytest.raises(TypeError, match=reason):
            cache.cached("read:{number}", ttl_seconds=60)(read)


@pytest.mark.parametrize("kind", [kind for kind, _ in CASES], ids=str)
def test_other_types_are_not_refused(kind):
    assert codec_of(kind).fingerprint


def test_a_field_that_no_one_passes_comes_back_or_is_refused():
    value = Computed(1)
    value.y = 8
    try:
        codec = codec_of(Computed)
    except TypeError:
        return
    assert codec.read_back(value, codec.dumps(value)) == value


def shape(value: Any) -> Any:
    """Return a value with all its types, nan equal to itself."""
    if isinstance(value, BaseModel):
        return (type(value), shape(vars(value)), shape(value.model_extra))
    if isinstance(value, Point):
        return (Point, shape(value.x), shape(value.y))
    if isinstance(value, list | tuple):
        return (type(value), [shape(each) for each in value])
    if isinstance(value, set | frozenset):
        return (type(value), sorted(map(repr, value)))
    if isinstance(value, dict):
        return (dict, [(shape(key), shape(each)) for key, each in value.items()])
    return (type(value), repr(value))
