"""Results that are remembered for what clients send, bounded in bytes too."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, TypeVar, cast

Function = TypeVar("Function", bound=Callable[..., Any])

SIZE_MAX = 2048
"""Longer arguments are not remembered: 512 heads of 32 KiB would be 16 MiB a function."""


def remembered(entries: int) -> Callable[[Function], Function]:
    """Remember the last results of a function of texts and sets, while all are short together."""

    def decorate(function: Function) -> Function:
        kept = lru_cache(entries)(function)

        @wraps(function)
        def call(*args: Any) -> Any:
            return function(*args) if sum(map(len, args)) > SIZE_MAX else kept(*args)

        call.kept = kept  # type: ignore[attr-defined] # for tests
        return cast("Function", call)

    return decorate
