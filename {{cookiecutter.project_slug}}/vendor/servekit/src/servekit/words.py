"""Lists and mappings as the environment spells them: comma-separated words, or JSON."""

from __future__ import annotations

import inspect
from typing import Any, get_args, get_origin

import orjson
from pydantic import BaseModel

SEVERAL = (list, tuple, set, frozenset)


def split_words(text: str) -> list[str]:
    """Split comma-separated words; blanks and empty words are dropped."""
    return [word.strip() for word in text.split(",") if word.strip()]


def decode(given: object, annotation: Any) -> object:
    """Return the text of a setting as its type takes it; whatever is no text stays as it is.

    Raises:
        ValueError: It begins as JSON, and is none.
    """
    if not isinstance(given, str):
        return given
    kinds = [get_origin(one) or one for one in (annotation, *get_args(annotation))]
    several = any(kind in SEVERAL for kind in kinds)
    structured = any(kind is dict or is_model(kind) for kind in kinds)
    if (several and given.lstrip().startswith("[")) or (
        structured and given.lstrip().startswith("{")
    ):
        return orjson.loads(given)
    return split_words(given) if several else given


def is_model(kind: object) -> bool:
    """Return whether a type is a pydantic model, which JSON can spell."""
    return inspect.isclass(kind) and issubclass(kind, BaseModel)
