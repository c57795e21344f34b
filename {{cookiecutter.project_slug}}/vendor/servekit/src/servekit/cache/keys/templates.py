"""Templates of keys and tags over a function's parameters: `product:{product_id}`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from itertools import pairwise
from string import Formatter
from typing import Any

from servekit.cache.keys.text import UnstableKey, explicit_text, key_text, stable_text
from servekit.cache.keys.types import annotations_of, unstable_part

Maker = Callable[..., str]


def key_maker(template: str, function: Callable[..., Any]) -> Maker:
    """Return a function that makes the key of a call: no two calls share one by accident.

    Fields are names of the function's parameters, attributes included (`{user.id}`). Keys tell
    types apart: 1 is not "1", None not "None". A conversion or a format asks for the text instead
    (`{day:%Y}`). The function raises UnstableKey for an argument that has no stable text.

    Raises:
        ValueError: A field is no parameter of the function, or no colon divides two fields.
        TypeError: No key can be made of a parameter's type.
    """
    _check_parameters(template, function)
    _check_colons(template, function)
    _check_types(template, function)
    return _maker(template, function, TypedFields(), key_text)


def tag_maker(template: str, function: Callable[..., Any]) -> Maker:
    """Return a function that makes a tag of a call, of the arguments' texts.

    Whoever invalidates a tag writes it by hand: `invalidate_tag("category:7")` means 7 and "7".

    Raises:
        ValueError: A field is no parameter of the function.
    """
    _check_parameters(template, function)
    return _maker(template, function, TagFields(), _text)


def parameters_of(template: str) -> set[str]:
    """Return the names that a template's fields begin with."""
    return set(_roots(template))


class TextFields(Formatter):
    """Writes fields as text in which no colon can be taken for the template's."""

    def format_field(self, value: Any, format_spec: str) -> str:
        return explicit_text(value, format(value, format_spec))


class TagFields(Formatter):
    """Writes fields as they are: who ends a tag knows no spelling of ours."""

    def format_field(self, value: Any, format_spec: str) -> str:
        return stable_text(value, format(value, format_spec))


class TypedFields(TextFields):
    """Writes fields as texts that tell their types, unless the template asks for a text."""

    def convert_field(self, value: Any, conversion: Any) -> Any:
        return _Converted(super().convert_field(value, conversion)) if conversion else value

    def format_field(self, value: Any, format_spec: str) -> str:
        if format_spec or type(value) is _Converted:
            return super().format_field(value, format_spec)
        return key_text(value)


class _Converted(str):
    __slots__ = ()


def _text(value: object) -> str:
    return stable_text(value, str(value))


def _roots(template: str) -> Iterator[str]:
    for _, field, spec, _ in Formatter().parse(template):
        if field is not None:
            yield field.split(".")[0].split("[")[0]
            yield from _roots(spec or "")


def _check_parameters(template: str, function: Callable[..., Any]) -> None:
    names = inspect.signature(function).parameters
    for root in _roots(template):
        if root not in names:
            raise ValueError(f"{name_of(function)} has no parameter {root!r}: {template!r}.")


def _check_colons(template: str, function: Callable[..., Any]) -> None:
    fields = [(text, field) for text, field, _, _ in Formatter().parse(template) if field]
    for (_, before), (between, after) in pairwise(fields):
        if ":" not in between:
            raise ValueError(
                f"{name_of(function)}: {{{before}}} and {{{after}}} need a colon between them in "
                f"{template!r}, or two calls may share a key."
            )


def _check_types(template: str, function: Callable[..., Any]) -> None:
    annotations = annotations_of(function)
    for _, field, spec, conversion in Formatter().parse(template):
        part = None if spec or conversion else unstable_part(annotations.get(field or "", Any))
        if part is not None:
            raise TypeError(
                f"{name_of(function)}: no key can be made of {field!r}: {part!r} has no text that "
                f"all processes share. Name a field of it in the key, such as {{{field}.id}}."
            )


def _maker(
    template: str,
    function: Callable[..., Any],
    formatter: Formatter,
    text_of: Callable[[object], str],
) -> Maker:
    names = inspect.signature(function).parameters
    fields = [part for part in Formatter().parse(template) if part[1] is not None]
    if all(field in names and not (spec or how) for _, field, spec, how in fields):
        return _compiled(template, function, text_of)
    signature = inspect.signature(function)

    def general(*args: Any, **kwargs: Any) -> str:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        try:
            return formatter.vformat(template, (), bound.arguments)
        except UnstableKey as error:
            raise UnstableKey(_advice(template, function, error)) from None

    return general


def _compiled(
    template: str, function: Callable[..., Any], text_of: Callable[[object], str]
) -> Maker:
    """Write the function for this signature: binding one takes 5 us a call, this 0.2."""
    # Names of our own: a parameter may be called `type`.
    known: dict[str, Any] = {"_text_": text_of, "_Unstable_": UnstableKey}
    known |= {"_type_": type, "_int_": int}
    known["_advise_"] = lambda error: _advice(template, function, error)
    parameters = _written(inspect.signature(function), known)
    pieces = "".join(
        f"{text!r} "
        + (f'f"{{{field} if _type_({field}) is _int_ else _text_({field})}}" ' if field else "")
        for text, field, _, _ in Formatter().parse(template)
    )
    source = f"""
def make({parameters}):
    try:
        return {pieces or "''"}
    except _Unstable_ as error:
        raise _Unstable_(_advise_(error)) from None
"""
    exec(source, known)  # noqa: S102 - of a template and names of parameters, all in the source
    maker: Maker = known["make"]
    maker.__qualname__ = name_of(function)  # what a wrong call's error names
    return maker


def _written(signature: inspect.Signature, known: dict[str, Any]) -> str:
    """Return a signature as source without annotations; defaults become names that are known."""
    written = []
    for number, parameter in enumerate(signature.parameters.values()):
        default = parameter.default
        if default is not inspect.Parameter.empty:
            known[f"_default_{number}_"] = default
            default = Name(f"_default_{number}_")
        written.append(parameter.replace(annotation=inspect.Parameter.empty, default=default))
    return str(inspect.Signature(written))[1:-1]


class Name(str):
    """A name in source, which is its own `repr`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _advice(template: str, function: Callable[..., Any], error: UnstableKey) -> str:
    return (
        f"{name_of(function)} cannot make {template!r}: {error}. Name a field of the argument in "
        "it, such as {user.id}."
    )


def name_of(function: Callable[..., Any]) -> str:
    """Return what messages call a function."""
    return getattr(function, "__qualname__", repr(function))
