"""The names under which an object holds others."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Iterator
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodType,
)
from typing import Any

from servekit.awaits import awaits
from servekit.own_code import begins_at

KEYS_MAX = 20
PLAIN = frozenset({CodeType, BuiltinFunctionType, property, staticmethod, classmethod})
TIMERS = frozenset({"asyncio.events.TimerHandle", "uvloop.loop.TimerHandle"})
"""What holds a callback that is due later."""
STATE = "starlette.datastructures.State"
"""What an application or a request keeps under names that the program chooses."""
DESCRIPTORS = (GetSetDescriptorType, MemberDescriptorType)


def is_plain(held: object) -> bool:
    """Tell whether it is code without any state, of which a program has a hundred thousand."""
    if type(held) is not FunctionType:
        return type(held) in PLAIN
    return not (held.__closure__ or held.__defaults__ or held.__kwdefaults__ or held.__dict__)


def names(holder: Any) -> Iterator[tuple[str, Any]]:
    """Yield attributes, few keys, closure variables, defaults, locals: what is held, not computed.

    No code of the object's class runs. Of a timer it is what the object holds that it calls.
    """
    if type(holder) is dict:
        if len(holder) <= KEYS_MAX and all(type(key) is str for key in holder):
            yield from ((f"[{key!r}]", held) for key, held in holder.items())
    elif type_name(type(holder)) in TIMERS:
        for called in gc.get_referents(holder):
            if type(called) is MethodType:
                yield from attributes(called.__self__)
    elif type_name(type(holder)) == STATE:
        state = holder.__dict__.get("_state", {})
        yield from ((f".{name}", held) for name, held in list(state.items()))
    else:
        if type(holder) is FunctionType:
            yield from variables(holder)
        elif issubclass(type(holder), asyncio.Task):
            yield from locals_of(holder)
        yield from attributes(holder)


def attributes(holder: Any) -> Iterator[tuple[str, Any]]:
    """Yield what an object has in its dictionary and its slots."""
    for kind in type.__dict__["__mro__"].__get__(type(holder)):
        for name, member in type.__dict__["__dict__"].__get__(kind).items():
            if name == "__dict__" and isinstance(member, DESCRIPTORS):
                own = member.__get__(holder) or {}
                yield from ((f".{attribute}", held) for attribute, held in list(own.items()))
            elif type(member) is MemberDescriptorType:
                with contextlib.suppress(AttributeError):  # not set
                    yield f".{name}", member.__get__(holder)


def locals_of(task: asyncio.Task[Any]) -> Iterator[tuple[str, Any]]:
    """Yield the local variables of all that a task awaits."""
    for _, frame in awaits(task):
        if frame is not None:
            yield from ((f" local {name}", held) for name, held in frame.f_locals.items())


def variables(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """Yield what a function keeps from call to call."""
    code = function.__code__
    for variable, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # empty
            yield f" closure {variable}", cell.cell_contents
    defaults = function.__defaults__ or ()
    arguments = code.co_varnames[: code.co_argcount]
    for argument, value in zip(reversed(arguments), reversed(defaults), strict=False):
        yield f" default {argument}", value
    yield from (
        (f" default {name}", value) for name, value in (function.__kwdefaults__ or {}).items()
    )


def code_name(called: Any) -> str:
    """Return `module.function` of what is called or awaited, as far as it is known."""
    called = called_by(called)
    frame = getattr(called, "cr_frame", None)
    module = frame.f_globals.get("__name__") if frame else getattr(called, "__module__", None)
    qualname = getattr(called, "__qualname__", type(called).__qualname__)
    return f"{module or type(called).__module__}.{qualname}"


def place_of_code(called: Any) -> str:
    """Return `file:line` of where a function or coroutine begins; "" if it is none of Python's."""
    called = called_by(called)
    code = getattr(called, "__code__", None) or getattr(called, "cr_code", None)
    return f"{code.co_filename}:{begins_at(code)}" if isinstance(code, CodeType) else ""


def called_by(called: Any) -> Any:
    """Return what a partial or a method calls."""
    called = getattr(called, "func", called)
    return getattr(called, "__func__", called)


def type_name(kind: type) -> str:
    """Return a type as its module has it."""
    return f"{kind.__module__}.{kind.__qualname__}"
