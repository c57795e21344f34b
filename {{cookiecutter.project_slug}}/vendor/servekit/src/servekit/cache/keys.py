"""Keys: what a cached function's arguments are called, and where that stands in Redis."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from string import Formatter
from typing import Any

ENTRY, LEASE, TAG, PATTERN = "e", "l", "t", "pattern"
"""Kinds of what is removed; but for the last, they stand in the keys of Redis."""


class KeySpace:
    """Redis keys of one namespace: `cache:e:{product:7}`, its lease, and tags.

    The braces put an entry and its lease on the same node of a Cluster.
    """

    def __init__(self, namespace: str) -> None:
        if not namespace or set(namespace) & set("{}*?[]\\"):
            raise ValueError(f"The namespace {namespace!r} may hold none of {{}}*?[]\\ .")
        self.prefix = f"{namespace}:"
        self._cut = len(self.prefix)

    def entry(self, key: str) -> str:
        return f"{self.prefix}e:{{{_tagged(key)}}}"

    def lease(self, key: str) -> str:
        return f"{self.prefix}l:{{{_tagged(key)}}}"

    def tag(self, tag: str) -> str:
        return f"{self.prefix}t:{{{_tagged(tag)}}}"

    def split(self, raw: bytes) -> tuple[str, str]:
        """Return kind and name of a Redis key of this namespace."""
        text = raw[self._cut :].decode(errors="replace")
        return text[:1], text[3:-1]


def _tagged(name: str) -> str:
    # "{}" is no hash tag: an entry and its lease would part.
    return f" {name}" if not name or name[0] == "}" else name


def key_maker(template: str, function: Callable[..., Any]) -> Callable[..., str]:
    """Return a function that makes the key of a call from the template's fields.

    Fields are names of the function's parameters, attributes and formats included
    (`{user.id}`, `{day:%Y}`). Colons and percent signs in values are escaped, so that
    `a:{x}:{y}` cannot mean two calls. Parameters that are not named do not count.

    Raises:
        ValueError: A field is no parameter of the function.
    """
    signature = inspect.signature(function)
    names = list(signature.parameters)
    fields = [part for part in Formatter().parse(template) if part[1] is not None]
    for _, field, _, _ in fields:
        root = str(field).split(".")[0].split("[")[0]
        if root not in names:
            raise ValueError(f"{function.__qualname__} has no parameter {root!r}: {template!r}.")

    formatter = _Escaping()

    def general(*args: Any, **kwargs: Any) -> str:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return formatter.vformat(template, (), bound.arguments)

    plain = all(
        field in names and not spec and not conversion for _, field, spec, conversion in fields
    )
    kinds = {parameter.kind for parameter in signature.parameters.values()}
    if not plain or not kinds <= {inspect.Parameter.POSITIONAL_OR_KEYWORD}:
        return general
    return _fast(template, names, general)


def _fast(template: str, names: list[str], general: Callable[..., str]) -> Callable[..., str]:
    """Format by position: binding a signature takes 3 us, this 0.3."""
    positions = "".join(
        text.replace("{", "{{").replace("}", "}}")
        + (f"{{{names.index(field)}}}" if field is not None else "")
        for text, field, _, _ in Formatter().parse(template)
    )
    write, count = positions.format, len(names)

    def fast(*args: Any, **kwargs: Any) -> str:
        if kwargs or len(args) != count:
            return general(*args, **kwargs)
        for value in args:
            if type(value) is not int:
                return write(*[escape(value) for value in args])
        return write(*args)

    return fast


def escape(value: Any) -> Any:
    """Return the value as text in which no colon can be taken for the template's."""
    if type(value) is int:
        return value
    text = str(value)
    if ":" in text or "%" in text:
        return text.replace("%", "%25").replace(":", "%3A")
    return text


class _Escaping(Formatter):
    def format_field(self, value: Any, format_spec: str) -> str:
        return str(escape(format(value, format_spec)))
