"""Lists that stand in the environment as comma-separated words."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator
from pydantic_settings import NoDecode


def split_words(text: str) -> list[str]:
    """Split comma-separated words; blanks and empty words are dropped."""
    return [word.strip() for word in text.split(",") if word.strip()]


def read_words(given: object) -> object:
    """Split text; anything else is validated as it is."""
    return split_words(given) if isinstance(given, str) else given


Words = Annotated[list[str], NoDecode, BeforeValidator(read_words)]
"""The type of a setting that is such a list."""
