"""What JSON loses of a type: values of such a type do not come back as they went."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from pydantic import SecretBytes, SecretStr, TypeAdapter

ONE_WAY = {
    "callable": "a function has no JSON",
    "generator": "an iterator can be read once",
    "is-instance": "an instance of a class that pydantic does not know has no JSON",
    "is-subclass": "a class has no JSON",
}
"""Kinds of schema that write what they do not read."""

PYTHON_ONLY = frozenset({"python_schema", "strict_schema", "serialization", "metadata"})
"""Parts of a schema that JSON does not pass through."""


def json_losses(adapter: TypeAdapter[Any]) -> Iterator[str]:
    """Yield what JSON loses of a type, by its schema."""
    return _losses(adapter.core_schema, set())


def _losses(schema: Any, seen: set[int]) -> Iterator[str]:
    if id(schema) in seen:
        return
    seen.add(id(schema))
    if isinstance(schema, Mapping):
        yield from _own_losses(cast("Mapping[str, Any]", schema))
        for name, part in schema.items():
            if name not in PYTHON_ONLY:
                yield from _losses(part, seen)
    elif isinstance(schema, list | tuple):
        for part in schema:
            yield from _losses(part, seen)


def _own_losses(schema: Mapping[str, Any]) -> Iterator[str]:
    kind = schema.get("type")
    if isinstance(kind, str) and kind in ONE_WAY:
        yield ONE_WAY[kind]
    fields = schema.get("fields")
    named = fields.items() if isinstance(fields, Mapping) else ()
    for name, field in (*named, *((each.get("name"), each) for each in _dicts(fields))):
        if field.get("serialization_exclude") is True:
            yield f"its field {name!r} is excluded from what is written"
        if field.get("serialization_exclude_if") is not None:
            yield f"its field {name!r} is excluded from what is written if exclude_if says so"
        if field.get("init_only") or field.get("init") is False:
            yield f"its field {name!r} is not read back: it is written by __init__ alone"
    function = schema.get("function")
    made = function.get("function") if isinstance(function, Mapping) else None
    if isinstance(made, type) and issubclass(made, SecretStr | SecretBytes):
        yield "a secret is written as asterisks"


def _dicts(fields: Any) -> Iterator[dict[str, Any]]:
    for field in fields if isinstance(fields, list) else ():
        if isinstance(field, dict):
            yield field
