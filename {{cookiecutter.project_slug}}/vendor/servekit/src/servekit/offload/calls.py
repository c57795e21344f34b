"""A call on its way to an offload process."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

from structlog.contextvars import get_contextvars

from servekit.offload.frames import Call, pack


def pack_call(function: Callable[..., Any], args: tuple[Any, ...]) -> bytes:
    """Return a call and the request's log context as a frame; TypeError where one cannot go."""
    named = getattr(function, "__qualname__", repr(function))
    if getattr(function, "__module__", None) == "__main__":
        raise TypeError(f"{named} lives in __main__, which another process cannot import.")
    context = {
        name: value
        for name, value in get_contextvars().items()
        if isinstance(value, str | int | float | bool)
    }
    try:
        return pack(Call(function, args, context))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise TypeError(
            f"{named} must be a module-level function, its arguments picklable: {error}"
        ) from error
