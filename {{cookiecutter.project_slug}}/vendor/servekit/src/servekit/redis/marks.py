"""Marks on reads under way, so that a late invalidation is never overwritten."""

from __future__ import annotations


class Mark:
    """A read that is under way; an invalidation of its key on the way makes it unfit to keep."""

    __slots__ = ("epoch", "name", "spoiled")

    def __init__(self, name: str, epoch: int) -> None:
        self.name = name
        self.epoch = epoch
        self.spoiled = False


class Marks:
    """The reads under way, by name."""

    def __init__(self) -> None:
        self._marks: dict[str, set[Mark]] = {}

    def begin(self, name: str, epoch: int = 0) -> Mark:
        mark = Mark(name, epoch)
        self._marks.setdefault(name, set()).add(mark)
        return mark

    def end(self, mark: Mark) -> None:
        marks = self._marks.get(mark.name)
        if marks is not None:
            marks.discard(mark)
            if not marks:
                del self._marks[mark.name]

    def spoil(self, name: str) -> None:
        for mark in self._marks.pop(name, ()):
            mark.spoiled = True

    def spoil_all(self) -> None:
        for name in list(self._marks):
            self.spoil(name)
