"""Codecs: values of one type as bytes and back, for types that come back as they went."""

from __future__ import annotations

import json
from functools import cache
from hashlib import blake2b
from typing import Any, Generic, TypeVar

from pydantic import (
    ConfigDict,
    PydanticSchemaGenerationError,
    PydanticUserError,
    TypeAdapter,
)

from servekit.json_losses import json_losses

T = TypeVar("T")

FORMAT = 3

FLOATS_AS_THEY_ARE = ConfigDict(ser_json_inf_nan="constants")


class NotEncodable(TypeError):  # noqa: N818 - a property of the value
    """The value is no JSON of the declared type."""


class Codec(Generic[T]):
    """Turns values of one type into bytes and back; `version` tells apart what the type cannot.

    The fingerprint stands in every entry: what another type, version or format wrote is a miss.

    Raises:
        TypeError: Values of the type do not come back as they went.
    """

    exact = False
    """Whether what is read back is what was written, whatever it is."""

    def __init__(self, kind: Any, *, version: str = "") -> None:
        self._adapter: TypeAdapter[T] = _adapter(kind)
        for reason in json_losses(self._adapter):
            raise TypeError(f"{kind!r} cannot be cached: {reason}.")
        try:
            schema = json.dumps(self._adapter.json_schema(mode="serialization"), sort_keys=True)
        except (PydanticUserError, PydanticSchemaGenerationError):
            schema = repr(kind)
        text = f"{FORMAT}|{version}|{schema}"
        self.fingerprint = blake2b(text.encode(), digest_size=8).digest()

    def dumps(self, value: T) -> bytes:
        """Return the value as bytes.

        Raises:
            NotEncodable: The value has no JSON form.
        """
        try:
            # Field names and no computed fields: the form that every model takes back.
            return self._adapter.dump_json(value, round_trip=True, warnings=False)
        except ValueError as error:
            raise NotEncodable(str(error)) from error

    def loads(self, data: bytes) -> T:
        """Return the value, or raise ValueError."""
        return self._adapter.validate_json(data, by_alias=True, by_name=True)

    def read_back(self, value: T, data: bytes) -> T:
        """Return what all who read `data`, the value as bytes, will get.

        Raises:
            NotEncodable: They would get nothing.
        """
        if self.exact:
            return value
        try:
            return self.loads(data)
        except ValueError as error:
            raise NotEncodable(str(error)) from error


class BytesCodec(Codec[bytes]):
    """Passes bytes through."""

    exact = True

    def __init__(self, version: str = "") -> None:
        text = f"{FORMAT}|bytes" + (f"|{version}" if version else "")
        self.fingerprint = blake2b(text.encode(), digest_size=8).digest()

    def dumps(self, value: bytes) -> bytes:
        if type(value) is not bytes:
            raise NotEncodable(f"{type(value).__name__} is not bytes")
        return value

    def loads(self, data: bytes) -> bytes:
        return data


@cache
def codec_of(kind: Any, version: str = "") -> Codec[Any]:
    """Return the one codec of the type: local entries are told apart by it.

    Raises:
        TypeError: Values of the type do not come back as they went.
    """
    if kind is bytes:
        return BytesCodec(version)
    return Codec(kind, version=version)


def _adapter(kind: Any) -> TypeAdapter[Any]:
    try:
        try:
            return TypeAdapter(kind, config=FLOATS_AS_THEY_ARE)
        except PydanticUserError as error:
            if error.code != "type-adapter-config-unused":  # Such a type has a config of its own.
                raise
            return TypeAdapter(kind)
    except (PydanticSchemaGenerationError, PydanticUserError) as error:
        reason = (error.message or "").partition("\n")[0]
        raise TypeError(f"{kind!r} cannot be cached: {reason}") from error
