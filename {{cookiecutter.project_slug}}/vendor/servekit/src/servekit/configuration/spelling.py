"""Settings as text that can be read in again: `.env.example`, and what a service runs with."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import orjson
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from servekit.configuration.settings import Settings
from servekit.configuration.variables import leaves_of
from servekit.notation.words import BLANKS, QUOTES, is_quoted, split_words

LOGIN = re.compile("//.*@", re.DOTALL)
"""What may hold a password, or a key in its place; special characters need not be encoded."""
PLAIN = re.compile(r"[A-Za-z0-9_./:,@%+=\[\]*-]*")


def example_file(kind: type[Settings]) -> str:
    """Return the text of `.env.example`: every setting at its default, with its reason."""
    lines = ["# Every setting at its default. Copy to .env and uncomment what you change.", ""]
    for name, field in kind.model_fields.items():
        default = None if field.is_required() else default_of(field)
        lines += commented(field.description)
        for leaf in leaves_of(kind, name):
            value = value_at(default, leaf.path[1:])
            if value is None and len(leaf.path) > 1 and not leaf.field.is_required():
                value = default_of(leaf.field)
            lines += commented(leaf.field.description) if len(leaf.path) > 1 else []
            if len(leaf.path) > 1 and not leaf.is_secret:
                value = to_jsonable_python(value, fallback=str)
            lines += [f"# {leaf.variables[0]}={as_text(value)}"]
        lines += [""]
    return "\n".join(lines)


def commented(text: str | None) -> list[str]:
    """Return lines of a comment."""
    return [f"# {line}".rstrip() for line in (text or "").splitlines()]


def value_at(value: Any, path: Sequence[str]) -> Any:
    """Return what lies within a value, None where nothing does."""
    for name in path:
        if value is None:
            return None
        fields = type(value).model_fields
        by_alias = {field.validation_alias or field.alias: own for own, field in fields.items()}
        value = getattr(value, name if name in fields else by_alias[name])
    return value


def default_of(field: FieldInfo) -> Any:
    """Return the default of a field that has one."""
    return field.get_default(call_default_factory=True, validated_data={})


def spelled(settings: Settings) -> Iterator[str]:
    """Yield every setting as a line of `.env`; a secret that is set is a comment."""
    kind = type(settings)
    values = settings.model_dump(mode="json", fallback=str)
    for name in kind.model_fields:
        for leaf in leaves_of(kind, name):
            variable, value = leaf.variables[0], value_at(getattr(settings, name), leaf.path[1:])
            is_secret = leaf.is_secret or LOGIN.search(as_text(value))
            if is_secret and revealed(value) not in ("", None, [], {}):
                yield f"# {variable} is set, and not shown: **********"
            elif len(leaf.path) > 1:
                if value_at(getattr(settings, name), leaf.path[1:-1]) is not None:
                    yield f"{variable}={quoted(as_text(to_jsonable_python(value, fallback=str)))}"
            else:
                yield f"{variable}={quoted(as_text(values.get(name, value)))}"


def revealed(value: Any) -> Any:
    """Return what a secret holds."""
    return value.get_secret_value() if hasattr(value, "get_secret_value") else value


def as_text(value: object) -> str:
    """Return a value as the environment spells it."""
    value = revealed(value)
    if isinstance(value, list | tuple | set | frozenset):
        return list_as_text(list(value))
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json", fallback=str)
    if isinstance(value, dict):
        return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, str):
        return protected(value)
    return "" if value is None else str(value)


def protected(text: str) -> str:
    """Return a text in quotes where those around it, or its blanks, would be dropped."""
    if is_quoted(text) or text != text.strip(BLANKS):
        mark = next((each for each in QUOTES if each not in text), "")
        return f"{mark}{text}{mark}"
    return text


def list_as_text(values: list[Any]) -> str:
    """Return comma-separated words, or JSON where they would not come back as they are."""
    words = [as_text(each) for each in values]
    text = ",".join(words)
    plain = all(isinstance(each, str | int | float) for each in values)
    if plain and split_words(text) == words and text[:1] != "[" and not is_quoted(text):
        return text
    return orjson.dumps(values, default=str).decode()


def quoted(text: str) -> str:
    """Return a text as `.env` holds it; `${` is kept from being looked up there."""
    if PLAIN.fullmatch(text):
        return text
    text = text.replace("\\", "\\\\").replace("'", "\\'").replace("${", "${:-$}{")
    return f"'{text}'"
