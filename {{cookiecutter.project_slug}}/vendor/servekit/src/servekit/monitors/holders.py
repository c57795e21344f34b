"""What holds what: every object once, under the name that leads to it in the fewest steps."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextvars import Context
from functools import partial
from types import FunctionType, ModuleType
from typing import Any

from servekit.monitors.names import TIMERS, code_name, is_plain, names, place_of_code, type_name
from servekit.own_code import is_own

TYPE_HAS_GC = 1 << 14
"""The flag of types whose objects may refer to others, as `Py_TPFLAGS_HAVE_GC` has it."""
APPLICATION = "starlette.applications.Starlette"
BATCH = 1000
FUNCTIONS_AT_STEP = 2
"""What a module or a class of it has is named by that; what functions hold beside it, by them."""
TIMERS_AT_STEP = 3
"""What a task waits for is the task's; what nobody came to in so many steps is a timer's own."""
LATE = (Context, asyncio.AbstractEventLoop)
"""What every task refers to, and what refers to everything: looked into when all else is done."""
MAY_NEST = frozenset({dict, FunctionType})
NOBODY = "(no name)"
"""Of what native code, another thread's stack or nothing at all holds: garbage, not yet found."""


class Holder:
    """A place in memory: one object with a name, or all of a type that are one step further in."""

    __slots__ = ("bytes", "count", "inner", "is_container", "is_late", "kind", "name", "outer")

    def __init__(self, name: str, kind: type, outer: Holder | None = None) -> None:
        self.name = name
        self.kind = kind
        self.outer = outer
        self.count = 0
        self.bytes = 0
        self.inner: dict[str | type, Holder] = {}
        self.is_container = bool(kind.__flags__ & TYPE_HAS_GC)
        self.is_late = issubclass(kind, LATE)

    def named(self, name: str, kind: type) -> Holder:
        """Return the place of an object that this single one has under a name.

        What nests in its like has none: a chain would be as many places as links.
        """
        found = self.inner.get(name)
        if found is None:
            above: Holder | None = self
            while above is not None and above.kind is not kind:
                above = above.outer
            if above is not None and kind not in MAY_NEST:
                return self.typed(kind)
            found = self.inner[name] = Holder(self.name + name, kind, self)
        return found

    def typed(self, kind: type) -> Holder:
        """Return the place of all objects of a type in this one, or around it if that nests."""
        found = self.inner.get(kind)
        if found is None:
            above = self
            while not above.name and above.kind is not kind and above.outer is not None:
                above = above.outer
            found = self.inner[kind] = Holder("", kind, self) if above.name else above
        return found

    @property
    def root(self) -> str:
        """The first name on the way to it."""
        place = self
        while place.outer is not None:
            place = place.outer
        return place.name

    @property
    def owner(self) -> type | None:
        """The class of the object that the innermost name is an attribute of."""
        place = self
        while not place.name and place.outer is not None:
            place = place.outer
        return place.outer.kind if place.outer is not None else None

    def path(self) -> tuple[str, list[str]]:
        """Return the innermost name, and the types on the way in from there."""
        through: list[str] = []
        place = self
        while not place.name and place.outer is not None:
            through.append(type_name(place.kind))
            place = place.outer
        return place.name, through[::-1]


class Walk:
    """A walk over all objects, from every name at once; it changes what it looks at, a little."""

    def __init__(self) -> None:
        self._tracked = gc.get_objects()  # first of all: what this makes is no one's
        self.holders: list[Holder] = []
        self._marks: defaultdict[int, bytearray] = defaultdict(partial(bytearray, 1 << 16))
        self._next: defaultdict[Holder, list[Any]] = defaultdict(list)
        self.places: dict[str, str] = {}
        """`file:line` of tasks and timers, by their names."""
        self._postpones = True
        self._postponed: defaultdict[Holder, list[Any]] = defaultdict(list)
        self._is_new(self)

    def run(self) -> None:
        """Go through everything that is tracked, and what that refers to."""
        modules = [module for module in sys.modules.values() if isinstance(module, ModuleType)]
        for module in modules:  # a name of its own leads to it, not the imports of others
            self._is_new(module)
            self._next[Holder(module.__name__, ModuleType)].append(module)
        self._begin(self._states())
        self._begin(self._tasks())
        for step in range(TIMERS_AT_STEP):
            if step == FUNCTIONS_AT_STEP:
                self._begin(self._functions())
            self._step()
        self._begin(self._timers())
        self._walk()
        self._postpones = False
        self._next = self._postponed
        self._walk()
        self._begin((NOBODY, held) for held in self._tracked)
        self._walk()

    def _states(self) -> Iterator[tuple[str, Any]]:
        """Yield `app.state` of applications: what keeps it is the library's, as every task is."""
        held = {}
        for application in self._of(is_application):
            state = vars(application).get("state")
            if state is not None and vars(state).get("_state"):
                held[getattr(application, "title", "")] = state
        for title, state in held.items():
            yield "app.state" if len(held) == 1 else f"{title} app.state", state

    def _tasks(self) -> Iterator[tuple[str, Any]]:
        for task in self._of(lambda kind: issubclass(kind, asyncio.Task)):
            if not task.done():
                yield self._called("task", task.get_coro()), task

    def _timers(self) -> Iterator[tuple[str, Any]]:
        for timer in self._of(lambda kind: type_name(kind) in TIMERS):
            for called in filter(callable, gc.get_referents(timer)):
                yield self._called("timer", called), timer

    def _functions(self) -> Iterator[tuple[str, Any]]:
        """Yield the program's own that keep something, such as a route's in its closure.

        Else the library's table in which they stand would be the name. Of several with the same
        name, such as one for each request, who keeps them is the question.
        """
        found: defaultdict[str, list[Any]] = defaultdict(list)
        for function in self._of(lambda kind: kind is FunctionType):
            if not is_plain(function) and is_own(function.__code__.co_filename):
                found[code_name(function)].append(function)
        for functions in found.values():
            if len(functions) == 1:
                yield self._called("", functions[0]), functions[0]

    def _of(self, matches: Callable[[type], bool]) -> list[Any]:
        # By type: `isinstance` may run code of an object that says to be something else.
        kinds = {kind for kind in set(map(type, self._tracked)) if matches(kind)}
        return [held for held in self._tracked if type(held) in kinds]

    def _called(self, what: str, called: Any) -> str:
        name = f"{what} {code_name(called)}".lstrip()
        self.places[name] = place_of_code(called)
        return name

    def _begin(self, pairs: Iterable[tuple[str, Any]]) -> None:
        found: defaultdict[str, list[Any]] = defaultdict(list)
        for name, held in pairs:
            if self._is_new(held):
                found[name].append(held)
        for name, objects in found.items():
            root = Holder(name, type(objects[0]))
            for held in objects:
                self._count(root if len(objects) == 1 else root.typed(type(held)), held)

    def _walk(self) -> None:
        while self._next:
            self._step()

    def _step(self) -> None:
        frontier, self._next = self._next, defaultdict(list)
        for holder, objects in frontier.items():
            if holder.name:
                for held in objects:
                    self._look_by_name(holder, held)
            for start in range(0, len(objects), BATCH):
                self._take(holder, gc.get_referents(*objects[start : start + BATCH]))

    def _look_by_name(self, holder: Holder, single: Any) -> None:
        for name, held in names(single):
            kind = type(held)
            if not kind.__flags__ & TYPE_HAS_GC or is_plain(held):
                self._take(holder, [held])
            elif self._is_new(held):
                self._count(holder.named(name, kind), held)

    def _take(self, holder: Holder, found: list[Any]) -> None:
        places = holder.inner
        for held in found:
            if self._is_new(held):
                kind = type(held)
                self._count(places.get(kind) or holder.typed(kind), held)

    def _is_new(self, held: object) -> bool:
        # A byte for each 16 of the heap: a set of ids would take as much as what it is of.
        address = id(held)
        marks, place = self._marks[address >> 20], (address >> 4) & 0xFFFF
        if marks[place]:
            return False
        marks[place] = 1
        return True

    def _count(self, place: Holder, held: object) -> None:
        if not place.count:
            self.holders.append(place)
        place.count += 1
        place.bytes += size_of(held)
        if place.is_container:
            later = place.is_late and self._postpones
            (self._postponed if later else self._next)[place].append(held)


def is_application(kind: type) -> bool:
    """Tell whether a class is FastAPI's, Starlette's or made of one of them."""
    return any(type_name(base) == APPLICATION for base in type.__dict__["__mro__"].__get__(kind))


def size_of(held: object) -> int:
    """Return the shallow bytes of an object, 0 if its class fails to say."""
    try:
        return sys.getsizeof(held, 0)
    except Exception:  # noqa: BLE001 - a class may say of its size what it likes
        return 0
