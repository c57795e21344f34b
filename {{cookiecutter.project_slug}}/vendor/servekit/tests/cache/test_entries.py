from typing import Annotated

import pytest
from hypothesis import given, settings, strategies as st
from pydantic import BaseModel, Field, computed_field

from servekit.cache.codecs import Codec, NotEncodable
from servekit.cache.entries import Entry, pack, unpack
from tests.stores.workers import worker

PRINT = b"12345678"
times = st.floats(allow_nan=False, allow_infinity=False)
tags = st.lists(st.tuples(st.text(max_size=40), st.binary(min_size=8, max_size=8)), max_size=4)


@settings(max_examples=50)
@given(
    st.builds(
        Entry,
        payload=st.binary(max_size=300),
        created_at=times,
        fresh_until=times,
        usable_until=times,
        load_seconds=st.floats(width=32, allow_nan=False),
        tags=tags.map(tuple),
        negative=st.booleans(),
        local_seconds=st.floats(width=32, allow_nan=False),
    ),
)
def test_an_entry_is_read_back_as_it_was(entry):
    assert unpack(pack(entry, PRINT), PRINT) == entry


@given(st.binary(max_size=200))
def test_any_bytes_are_a_miss_or_an_entry_and_never_an_error(data):
    for candidate in (data, b"\x01" + PRINT + data):
        assert isinstance(unpack(candidate, PRINT), Entry | None)


@given(st.data())
def test_a_truncated_entry_is_no_error(data):
    packed = pack(Entry(b"x" * 50, 1, 2, 3, 0, (("tag", b"8" * 8),)), PRINT)
    cut = data.draw(st.integers(0, len(packed) - 1))

    head = len(packed) - 50
    assert unpack(packed[:cut], PRINT) is None or cut >= head  # of a cut text, JSON is none


def test_an_entry_with_a_flag_that_is_not_known_is_a_miss():
    packed = bytearray(pack(Entry(b"[]", 1, 2, 3), PRINT))
    assert unpack(bytes(packed), PRINT) is not None
    packed[9] = 1  # compressed, in a format of before
    assert unpack(bytes(packed), PRINT) is None


class Item(BaseModel):
    id: int
    kind: Annotated[str, Field(alias="class", serialization_alias="klass")] = "chair"

    @computed_field  # type: ignore[prop-decorator] # pydantic's own way
    @property
    def double(self) -> int:
        return self.id * 2


def test_models_with_aliases_and_computed_fields_are_read_back():
    codec = Codec[Item](Item)
    item = Item(id=1, **{"class": "table"})

    assert codec.loads(codec.dumps(item)) == item


def test_the_fingerprint_is_the_types_and_the_versions():
    class Other(BaseModel):
        id: str

    prints: list[Codec[object]] = [
        Codec(Item),
        Codec(Other),
        Codec(list[Item]),
        Codec(Item, version="2"),
    ]

    assert len({codec.fingerprint for codec in prints}) == 4
    assert Codec(Item).fingerprint == Codec(Item).fingerprint


def test_a_value_without_a_json_form_is_refused():
    with pytest.raises(NotEncodable):
        Codec[object](object).dumps(object())


async def test_a_value_has_as_many_tags_as_one_likes_and_too_many_are_refused(redis_url):
    async with worker(redis_url) as cache:
        tags = [f"product:{number}" for number in range(1000)]
        await cache.set("page", "x", ttl_seconds=60, tags=tags)
        assert await cache.get("page", str) == "x"
        await cache.invalidate_tag("product:999")
        assert await cache.get("page", str) is None
        for wrong in (["t" * 70_000], [str(number) for number in range(70_000)]):
            with pytest.raises(ValueError, match="at most 65535 tags"):
                await cache.set("page", "x", ttl_seconds=60, tags=wrong)
