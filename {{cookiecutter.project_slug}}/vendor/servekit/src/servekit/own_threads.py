"""Threads for what a worker does by itself: the application may have taken all of asyncio's."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

SIZE = 4
"""As few as they are, what runs there is short, or seldom."""

P = ParamSpec("P")
R = TypeVar("R")


def in_own_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[R]:
    """Run a function in one of these threads, and return what becomes of it.

    Raises:
        RuntimeError: The system allows no further thread.
    """
    call = functools.partial(function, *args, **kwargs)
    return asyncio.get_running_loop().run_in_executor(_threads(), call)


@functools.cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(SIZE, thread_name_prefix="servekit")
