import datetime as dt
import inspect
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal, NewType, Protocol, TypeVar

import pytest
from pydantic import BaseModel, HttpUrl, SecretStr

from servekit.cache.keys.templates import key_maker, tag_maker
from servekit.cache.keys.text import UnstableKey
from tests.cache.test_templates import Colour, Money, Name, Place, Point, Size


class Thing:
    """A class without a text of its own."""


T = TypeVar("T")
Id = NewType("Id", int)
Looked = NewType("Looked", Thing)


class Sized(Protocol):
    size: int


@dataclass
class Holder:
    thing: Thing


class Session(BaseModel, arbitrary_types_allowed=True):
    secret: SecretStr


UNSTABLE = [
    *(Thing, Thing | None, list[Thing], dict[str, Thing], Annotated[Thing, 1], Looked, Holder),
    *(Session, SecretStr, type[int], Callable[[], int], tuple[int, Thing], Iterator[Thing], range),
]
STABLE = [
    *(int, str | None, bool, float, bytes, list[int], tuple[int, ...], dict[str, set[int]], Id),
    *(Colour, Size, Money, Point, Place, uuid.UUID, Decimal, dt.datetime, dt.date, HttpUrl, Name),
    *(Literal["a"], Annotated[int, 1], Sequence[int], Mapping[str, int], frozenset[str]),
]
UNKNOWN = [Any, object, T, Sized, Sequence[Any], "Absent", inspect.Parameter.empty]


def declared(kind: Any) -> Callable[..., Any]:
    async def read(x):
        pass

    read.__annotations__ = {} if kind is inspect.Parameter.empty else {"x": kind}
    return read


@pytest.mark.parametrize("kind", UNSTABLE, ids=str)
def test_a_type_without_a_stable_text_is_refused_when_declared(kind):
    with pytest.raises(TypeError, match=r"no key can be made of 'x': .*Name a field"):
        key_maker("read:{x}", declared(kind))


@pytest.mark.parametrize("kind", [*STABLE, *UNKNOWN], ids=str)
def test_other_types_may_be_declared(kind):
    assert key_maker("read:{x}", declared(kind))(1) == "read:1"


@pytest.mark.parametrize(
    "value", [Thing(), [Thing()], Holder(Thing()), iter([]), int, SecretStr("a")]
)
def test_a_value_without_a_stable_text_raises_at_the_call(value):
    for template in ("read:{x}", "read:{x.__class__.__name__}:{x}"):
        with pytest.raises(UnstableKey, match=r"cannot make 'read:.*Name a field"):
            key_maker(template, declared(Any))(value)


@pytest.mark.parametrize("template", ["read:{x!s}", "read:{x!r}", "read:{x.__doc__}:{x!s}"])
def test_an_address_in_memory_is_no_text_even_when_it_is_asked_for(template):
    with pytest.raises(UnstableKey, match="address in memory"):
        key_maker(template, declared(Any))(Thing())
    with pytest.raises(UnstableKey, match="address in memory"):
        tag_maker("read:{x}", declared(Any))(Thing())
