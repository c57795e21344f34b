"""Where the program's own source binds what names hold, and where it adds to it."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from types import ModuleType

from servekit.monitors.sources import MODULE, Source, read
from servekit.own_code import is_own

LAST_WORD = re.compile(r"(\w+)(?:\[[^\]]*\])*$")
OF_FUNCTION = re.compile(r"(\w+)(?:\.<locals>[\w.<>]*)? (?:closure|default|local) ")
STATE = re.compile(r"(?:.* )?app\.state\.(\w+)")


class Program:
    """The program's own modules as they are now, each read once, when first asked for."""

    def __init__(self) -> None:
        self._modules = own_modules()
        self._sources: dict[str, Source] = {}

    def _source(self, file: str) -> Source:
        found = self._sources.get(file)
        if found is None:
            found = self._sources[file] = read(file)
        return found

    def place_of(self, name: str) -> str:
        """Return `file:line` of where a name of own code is bound; "" if not known."""
        words = re.split(r"[ \[]", name, maxsplit=1)[0].split(".")
        for length in range(len(words) - 1, 0, -1):
            file = getattr(sys.modules.get(".".join(words[:length])), "__file__", None)
            if file and is_own(file):
                bound = self._source(file).names
                return next(
                    (
                        f"{file}:{bound[inner]}"
                        for end in range(len(words), length, -1)
                        if (inner := ".".join(words[length:end])) in bound
                    ),
                    "",
                )
        return ""

    def attribute_of_class(self, kind: type | None, name: str) -> str:
        """Return as `file:line` where an own class binds the attribute that a name ends with."""
        found = LAST_WORD.search(name)
        file = getattr(sys.modules.get(kind.__module__), "__file__", None) if kind else None
        if not (kind and found and file and is_own(file)):
            return ""
        line = self._source(file).attributes.get((kind.__name__, found[1]))
        return f"{file}:{line}" if line else ""

    def attribute_of_state(self, name: str) -> str:
        """Return as `file:line` where own code sets the attribute of `app.state` of a name."""
        if (found := STATE.match(name)) is None:
            return ""
        lines = (
            f"{file}:{line}"
            for file in self._modules
            if (line := self._source(file).states.get(found[1]))
        )
        return next(lines, "")

    def added_at(self, name: str, place: str) -> list[str]:
        """Return as `file:line` where own functions add to what a name holds, bound at a place.

        A variable of a closure counts in the function around it, an attribute wherever the file of
        the place adds to one called so, a module's name also where others have imported it.
        """
        file = place.rpartition(":")[0]
        found = LAST_WORD.search(name)
        if not (found and file and is_own(file)):
            return []
        word = found[1]
        here = vars(self._modules[file]) if file in self._modules else {}
        of_function = OF_FUNCTION.search(name)
        around = of_function and of_function[1]
        files = [file]
        if around is not None:  # by the name that the module has for it, which may be another
            around = str(getattr(here.get(around), "__qualname__", around)).partition(".")[0]
        elif STATE.fullmatch(name):
            files += self._modules
        elif name.partition("[")[0] == f"{here.get('__name__')}.{word}":
            files += self._sharing(word, here)
            around = MODULE
        lines = (
            f"{each}:{one.line}"
            for each in dict.fromkeys(files)
            for one in self._source(each).additions.get(word, ())
            if one.is_to(around)
        )
        return [*dict.fromkeys(lines)]

    def _sharing(self, word: str, names: dict[str, object]) -> Iterator[str]:
        """Yield the files of modules in which a name is of the same object."""
        for file, module in self._modules.items():
            if vars(module).get(word) is names.get(word):
                yield file


def own_modules() -> dict[str, ModuleType]:
    """Return the modules of the program's own, by their files."""
    found = {}
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None) if isinstance(module, ModuleType) else None
        if isinstance(file, str) and file.endswith(".py") and is_own(file):
            found[file] = module
    return found
