"""Values as people and platforms write them: any case, commas or JSON, blanks, quotes, nothing."""

from __future__ import annotations

import inspect
import re
from collections import deque
from collections.abc import Iterator, Mapping, MutableSequence, Sequence, Set as AbstractSet
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import orjson
from annotated_types import MinLen
from pydantic import BaseModel, SecretBytes, SecretStr
from pydantic.fields import FieldInfo

from servekit.notation.urls import Refused

SEVERAL = {list, tuple, set, frozenset, deque, Sequence, MutableSequence, AbstractSet}
TEXTS = {str, bytes, SecretStr, SecretBytes, Any, object}
"""Types that take any text as it is, but for quotes around it."""
BLANKS = " \t\r\n\v\f\0\ufeff\u200b\u00a0"
"""What editors, files and copying leave around a value."""
ADDRESS = re.compile(r"\[[0-9a-f.]*:[0-9a-f:.]*\]", re.IGNORECASE)
"""An IPv6 address, which begins as a list in JSON does."""
QUOTES = "\"'"
GROUPED = re.compile(r"[+-]?[0-9]{1,3}(\.[0-9]{3})+")
"""A number with its thousands apart, which would be read as one with a fraction."""
SYNONYMS = {
    "dev": "development",
    "err": "error",
    "prod": "production",
    "testing": "test",
    "warn": "warning",
}


def split_words(text: str) -> list[str]:
    """Split comma-separated words; blanks, quotes around a word and empty words are dropped."""
    words = (unquoted(word.strip(BLANKS)) for word in text.split(","))
    return [word for word in words if word]


def split_keys(text: str) -> list[str]:
    """Split keys that stand between commas or line ends, or in a list in JSON.

    Raises:
        Refused: It begins as JSON, and is no list of texts.
    """
    if not text.startswith("["):
        return [word for line in text.splitlines() for word in split_words(line)]
    found = from_json(text)
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise Refused("begins as JSON, and is no list of texts")
    return [key for each in found if (key := each.strip(BLANKS))]


def decode(given: object, field: FieldInfo) -> object:
    """Return the text of a setting as its type takes it; whatever is no text stays as it is.

    Raises:
        Refused: It holds no characters, begins as JSON and is none, or is empty and must not be.
    """
    if not isinstance(given, str) or given == field.default:
        model = model_of(field.annotation)
        return decode_fields(given, model) if model and isinstance(given, dict) else given
    if any("\ud800" <= character <= "\udfff" for character in given):
        raise Refused("holds bytes that are no UTF-8")
    text = given.strip(BLANKS)
    kinds = list(kinds_of(field.annotation))
    if not text:
        return instead_of_nothing(field, kinds)
    bare = unquoted(text)
    if is_json(bare, kinds):
        return from_json(bare)
    if any(kind in SEVERAL for kind in kinds):
        words = [one for each in alternatives(field.annotation) for one in item_choices(each)]
        return [chosen(word, words) for word in split_words(bare)]
    if not any(kind in TEXTS for kind in kinds):
        if int in kinds and float not in kinds and GROUPED.fullmatch(bare):
            raise Refused(f"has a dot, and is a whole number: write it as {bare.replace('.', '')}")
        return chosen(bare, choices(field.annotation))
    return text[1:-1] if is_quoted(text) else text


def decode_fields(given: dict[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """Return what variables say of a model's fields, as their types take it."""
    fields = {}
    for name, field in model.model_fields.items():
        alias = field.validation_alias or field.alias
        fields[(alias if isinstance(alias, str) else name).lower()] = field
    found = dict(given)
    for name, value in given.items():
        if name.lower() in fields:
            try:
                found[name] = decode(value, fields[name.lower()])
            except Refused as refusal:
                raise Refused(f"has {name.upper()} that {refusal}") from None
    return found


def instead_of_nothing(field: FieldInfo, kinds: list[Any]) -> object:
    """Return what an empty value means: none, an empty list or text, else the default."""
    if NoneType in kinds:
        return None
    if any(kind in SEVERAL for kind in kinds):
        return []
    may_be_empty = not any(
        isinstance(limit, MinLen) and limit.min_length for limit in field.metadata
    )
    if may_be_empty and any(kind in TEXTS for kind in kinds):
        return ""
    if field.is_required():
        raise Refused("is empty, and has no default")
    return field.get_default(call_default_factory=True, validated_data={})


def kinds_of(annotation: Any) -> Iterator[Any]:
    """Yield the types that an annotation allows, without their arguments."""
    for one in alternatives(annotation):
        yield get_origin(one) or one


def alternatives(annotation: Any) -> Iterator[Any]:
    """Yield the members of a union, of its aliases and of unions within."""
    annotation = getattr(annotation, "__value__", annotation)  # of `type X = …`
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from alternatives(get_args(annotation)[0])
    elif origin in {Union, UnionType}:
        for one in get_args(annotation):
            yield from alternatives(one)
    else:
        yield annotation


def is_json(text: str, kinds: list[Any]) -> bool:
    """Return whether a text means JSON: as it begins, and as its type may need it."""
    several = any(kind in SEVERAL for kind in kinds) and not ADDRESS.match(text)
    structured = any(kind in {dict, Mapping} or is_model(kind) for kind in kinds)
    return (several and text.startswith("[")) or (structured and text.startswith("{"))


def from_json(text: str) -> object:
    """Return what a text says that begins as JSON."""
    try:
        return orjson.loads(text)
    except ValueError:
        raise Refused("begins as JSON, and is none") from None


def choices(annotation: Any) -> list[str]:
    """Return the words that an annotation names, of literals and enumerations."""
    found: list[Any] = []
    for one in alternatives(annotation):
        if get_origin(one) is Literal:
            found += get_args(one)
        elif inspect.isclass(one) and issubclass(one, Enum):
            found += [member.value for member in one]
    return [word for word in found if isinstance(word, str)]


def item_choices(annotation: Any) -> list[str]:
    """Return the words that the items of a list may be."""
    return [word for item in get_args(annotation) for word in choices(item)]


def chosen(text: str, words: list[str]) -> str:
    """Return the word that is meant, in whatever case; else the text as it is."""
    for meant in (text.casefold(), SYNONYMS.get(text.casefold())):
        same = [word for word in words if word.casefold() == meant]
        if same:
            return text if text in same else same[0]
    return text


def unquoted(text: str) -> str:
    """Drop quotes around a text, which shells drop and `docker --env-file` keeps."""
    return text[1:-1].strip(BLANKS) if is_quoted(text) else text


def is_quoted(text: str) -> bool:
    """Return whether a text stands in quotes, of which there are no others of their kind."""
    return len(text) > 1 and text[0] == text[-1] and text[0] in QUOTES and text[0] not in text[1:-1]


def model_of(annotation: Any) -> type[BaseModel] | None:
    """Return the model that a type is, or may be beside None."""
    others = [each for each in alternatives(annotation) if each is not NoneType]
    if len(others) == 1 and is_model(others[0]):
        found: type[BaseModel] = others[0]
        return found
    return None


def is_model(kind: object) -> bool:
    """Return whether a type is a pydantic model, which JSON can spell."""
    return inspect.isclass(kind) and issubclass(kind, BaseModel)
