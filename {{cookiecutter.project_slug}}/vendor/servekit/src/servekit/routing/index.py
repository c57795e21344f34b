"""An index over path templates: the few that may match a path, in order, whatever their number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

ONE_SEGMENT = frozenset(
    {
        "[^/]+",
        "[0-9]+",
        r"[0-9]+(\.[0-9]+)?",
        "[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}",
    }
)
"""Patterns of Starlette's converters that match no slash; a pattern of any other may match all."""

Item = TypeVar("Item")


class Node(Generic[Item]):
    """Where templates have led after some segments of a path."""

    __slots__ = ("by_text", "ending", "items", "parameter", "rest")

    def __init__(self) -> None:
        self.by_text: dict[str, Node[Item]] = {}
        self.parameter: Node[Item] | None = None
        self.ending: list[tuple[int, Item]] = []
        self.items: list[Item] = []
        """The items that end here, without their places."""
        self.rest: list[tuple[int, Item]] = []
        """Items that take whatever follows."""


class PathIndex(Generic[Item]):
    """Finds what may answer a path: whatever matches is among the candidates, in the order added.

    Whoever asks matches each candidate itself. The cost follows the path's segments and the
    candidates, not the number of templates.
    """

    def __init__(self) -> None:
        self._root: Node[Item] = Node()
        self._all: list[Item] = []
        self._static: dict[str, Sequence[Item] | None] = {}

    def add(self, item: Item, template: str, convertors: Mapping[str, Any]) -> None:
        """Add an item by its template, `/items/{id}`, and the converters of its parameters."""
        place = (len(self._all), item)
        self._all.append(item)
        node = self._root
        static = True
        for segment in template.split("/"):
            patterns = [one.regex for name, one in convertors.items() if f"{{{name}}}" in segment]
            static = static and not patterns
            if not ONE_SEGMENT.issuperset(patterns):
                node.rest.append(place)
                break
            if patterns:
                node.parameter = node.parameter or Node()
                node = node.parameter
            else:
                node = node.by_text.setdefault(segment, Node())
        else:
            node.ending.append(place)
            node.items.append(item)
        if static:
            self._static[template] = None
        self._static = dict.fromkeys(self._static)

    def add_anywhere(self, item: Item) -> None:
        """Add an item that may match any path."""
        self._root.rest.append((len(self._all), item))
        self._all.append(item)
        self._static = dict.fromkeys(self._static)

    def candidates(self, path: str) -> Sequence[Item]:
        """Return what may match a path, first added first."""
        found = self._static.get(path)
        if found is not None:
            return found
        if "\n" in path:  # which `$` lets pass at a pattern's end
            return self._all
        found = self._walk(path.split("/"))
        if path in self._static:
            self._static[path] = found
        return found

    def _walk(self, segments: list[str]) -> Sequence[Item]:
        node = self._root
        for segment in segments:  # nearly every path leads one way: to one node, or to none
            following = node.by_text.get(segment, node.parameter)
            if node.rest or (following is not node.parameter is not None):
                return self._walk_all(segments)
            if following is None:
                return ()
            node = following
        return self._walk_all(segments) if node.rest else node.items

    def _walk_all(self, segments: list[str]) -> Sequence[Item]:
        nodes, places = [self._root], []
        for segment in segments:
            following = []
            for node in nodes:
                places += node.rest
                if segment in node.by_text:
                    following.append(node.by_text[segment])
                if node.parameter is not None:
                    following.append(node.parameter)
            nodes = following
        for node in nodes:
            places += node.ending
            places += node.rest
        places.sort(key=first)
        return [item for _, item in places]


def first(place: tuple[int, Any]) -> int:
    """Return the number of an item, for sorting."""
    return place[0]
