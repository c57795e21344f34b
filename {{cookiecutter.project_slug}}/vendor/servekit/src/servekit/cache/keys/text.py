"""What a value is called in a key: text that tells its type, and is the same in every process."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from pathlib import PurePath
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from pydantic import AnyUrl, BaseModel
from pydantic_core import TzInfo, Url

MARKED = ":"
"""A text that sorts before it is marked: so begin numbers, values of other types, and the mark."""

ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]+")

NAMED = (IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network)
TEXTUAL = (Decimal, Fraction, UUID, PurePath, AnyUrl, Url, *NAMED)
"""Types whose instances `str` tells apart."""

PRIMITIVES = (str, int, float, bytes)
MOMENTS = (datetime, date, time)


class UnstableKey(TypeError):  # noqa: N818 - a property of the value
    """A value has no text that is the same in every process."""


def key_text(value: object) -> str:
    """Return the text of a value in a key: no other value has it, of whatever type.

    A number is itself, a text is itself unless it could be taken for something else. Colons are
    escaped, so that the template's own divide.

    Raises:
        UnstableKey: The type has no stable text; the message names it.
    """
    kind = type(value)
    if kind is int:
        return str(value)
    if kind is str:
        text: str = value  # type: ignore[assignment]
        return text if text.isidentifier() else escape(f"'{text}" if text < MARKED else text)
    if kind is float and (text := repr(value)) < MARKED:
        return text
    return escape(f"!{canonical(value)}")


def escape(text: str) -> str:
    """Return text in which no colon can be taken for the template's."""
    if ":" in text or "%" in text:
        return text.replace("%", "%25").replace(":", "%3A")
    return text


def canonical(value: object) -> str:
    """Return what `repr` is to literals, for every type that has a stable text.

    Raises:
        UnstableKey: The type has none.
    """
    write = WRITERS.get(type(value))
    if write is not None:
        return write(value)
    for kind, write in FAMILIES:
        if isinstance(value, kind):
            return write(value)
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
        return _fields(value, {name: getattr(value, name) for name in names})
    raise UnstableKey(f"{_name(value)} has no text that is the same in every process")


def explicit_text(value: object, text: str) -> str:
    """Return the text that a conversion or a format gave a value, as it stands in a key.

    Raises:
        UnstableKey: It names an address in memory.
    """
    return escape(stable_text(value, text))


def stable_text(value: object, text: str) -> str:
    """Return the text that a value was given, unless it is no stable one.

    Raises:
        UnstableKey: It names an address in memory.
    """
    if ADDRESS.search(text):
        raise UnstableKey(f"{_name(value)} is written with its address in memory")
    return text


def _name(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _fields(value: object, fields: dict[str, Any]) -> str:
    return f"{_name(value)}({','.join(f'{name}={canonical(fields[name])}' for name in fields)})"


def _model(value: Any) -> str:
    # What equality of models compares; a private attribute may be all that tells two apart.
    parts = (value.__pydantic_extra__, value.__pydantic_private__)
    fields = {name: getattr(value, name) for name in type(value).__pydantic_fields__}
    for part in parts:
        fields |= part or {}
    return _fields(value, fields)


def _sequence(value: Any) -> str:
    text = ",".join(map(canonical, value))
    return f"[{text}]" if type(value) is list else f"({text},)"


def _set(value: Any) -> str:
    return f"{type(value).__name__}({','.join(sorted(map(canonical, value)))})"


def _mapping(value: Any) -> str:
    items = sorted((canonical(key), canonical(each)) for key, each in value.items())
    return f"{{{','.join(f'{key}={each}' for key, each in items)}}}"


def _named_tuple(value: Any) -> str:
    if not hasattr(value, "_fields"):
        raise UnstableKey(f"{_name(value)} has no text that is the same in every process")
    return _fields(value, value._asdict())


def _enum(value: Any) -> str:
    return f"{_name(value)}.{value.name or canonical(value.value)}"


def _primitive(value: Any) -> str:
    if getattr(value, "__dict__", None):
        raise UnstableKey(f"{_name(value)} has attributes beside its value")
    kind = next(kind for kind in PRIMITIVES if isinstance(value, kind))
    return f"{_name(value)}({kind.__repr__(value)})"


def _moment(value: Any) -> str:
    kind = next(kind for kind in MOMENTS if isinstance(value, kind))
    text = f"{kind.__name__}({value.isoformat()}"
    if getattr(value, "fold", 0):
        text += ",fold"
    return f"{text}{_zone(getattr(value, 'tzinfo', None))})"


def _zone(zone: tzinfo | None) -> str:
    # Zones of one offset are one, whichever library made them: the text has the offset.
    if zone is None or isinstance(zone, timezone | TzInfo):
        return ""
    if isinstance(zone, ZoneInfo) and zone.key:
        return f",{zone.key}"
    raise UnstableKey(f"the time zone {_name(zone)} has no name")


def _textual(value: object) -> str:
    return f"{_name(value)}({str(value)!r})"


def _uuid(value: Any) -> str:
    # A driver's own UUID is a UUID: what a route was given must name what the driver returned.
    return f"UUID({value.hex})"


Writer = Callable[[Any], str]
WRITERS: dict[type, Writer] = {
    **dict.fromkeys((str, int, float, bool, bytes, complex, type(None)), repr),
    **dict.fromkeys((list, tuple), _sequence),
    **dict.fromkeys((set, frozenset), _set),
    dict: _mapping,
    **dict.fromkeys(MOMENTS, _moment),
    timedelta: repr,
    UUID: _uuid,
}
FAMILIES: tuple[tuple[type | tuple[type, ...], Writer], ...] = (
    (Enum, _enum),
    (BaseModel, _model),
    (MOMENTS, _moment),
    (UUID, _uuid),
    (TEXTUAL, _textual),
    (tuple, _named_tuple),
    (PRIMITIVES, _primitive),
)
