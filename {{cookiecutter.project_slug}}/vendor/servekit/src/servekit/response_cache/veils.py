"""Dictionaries of which some is behind a veil: the scope of a run, its state, its cookies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from servekit.foreign.requests import PLACED_BY_FRAMEWORKS, Veil


class VeiledDict(dict[str, Any]):
    """Holds what may be seen; whatever else is asked of it, the veil hears first.

    Once that is lifted, the rest of `real` is here too, but for what was set meanwhile.
    """

    def __init__(self, visible: Mapping[str, Any], real: Mapping[str, Any], veil: Veil) -> None:
        super().__init__(visible)
        self._real, self._veil = real, veil
        self._is_whole = False

    def become_whole(self) -> None:
        """Take in what was behind the veil, if it is lifted."""
        if self._veil.lifted and not self._is_whole:
            self._is_whole = True
            for key, value in self._real.items():
                self.setdefault(key, value)

    def _look_at_all(self) -> None:
        self._veil.look_at_all()
        self.become_whole()

    def __missing__(self, key: str) -> Any:
        if not self._is_whole:
            self._veil.look(key)
            self.become_whole()
            if super().__contains__(key):
                return self[key]
        raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        if super().__contains__(key):
            return True
        self._veil.look(str(key))
        self.become_whole()
        return super().__contains__(key)

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value or `default`."""
        try:
            return self[key]
        except KeyError:
            return default

    def pop(self, key: str, *default: Any) -> Any:
        """Take a value out."""
        self.get(key)  # which the veil hears
        return super().pop(key, *default)

    # To override this makes `dict(…)` and `{**…}` come here too.
    def __iter__(self) -> Iterator[str]:
        self._look_at_all()
        return super().__iter__()

    def __len__(self) -> int:
        self._look_at_all()
        return super().__len__()

    def __eq__(self, other: object) -> bool:
        self._look_at_all()
        return super().__eq__(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None  # as that of every dict

    def __repr__(self) -> str:
        self._look_at_all()
        return super().__repr__()

    def __or__(self, other: Any) -> Any:
        return dict(self) | other

    def keys(self) -> Any:
        """Return all keys."""
        self._look_at_all()
        return super().keys()

    def values(self) -> Any:
        """Return all values."""
        self._look_at_all()
        return super().values()

    def items(self) -> Any:
        """Return all items."""
        self._look_at_all()
        return super().items()

    def copy(self) -> dict[str, Any]:
        """Return a dict of all items."""
        return dict(self)


class VeiledScope(VeiledDict):
    """A run's scope: what may be read in a form of its own is there for the frameworks.

    `narrowed` has headers, query and the like as a run may see them. They are asked for each time,
    so that whoever reads them by hand is heard.
    """

    def __init__(
        self,
        visible: Mapping[str, Any],
        narrowed: Mapping[str, Any],
        real: Mapping[str, Any],
        veil: Veil,
    ) -> None:
        super().__init__(visible, real, veil)
        self._narrowed = narrowed

    def __missing__(self, key: str) -> Any:
        if self._is_unplaced(key):
            raise KeyError(key)
        try:
            return super().__missing__(key)
        except KeyError:
            if key in self._narrowed:
                return self._narrowed[key]
            raise

    def __contains__(self, key: object) -> bool:
        if self._is_unplaced(key):
            return dict.__contains__(self, key)
        return key in self._narrowed or super().__contains__(key)

    def _is_unplaced(self, key: object) -> bool:
        """Return whether a framework would have placed it and has not: so for all requests."""
        return key in PLACED_BY_FRAMEWORKS and key not in self._real

    def __setitem__(self, key: str, value: Any) -> None:
        # Starlette's Headers puts back the list that it has just read.
        if key not in self._narrowed or self._is_whole or value != self._narrowed[key]:
            super().__setitem__(key, value)

    def keys(self) -> Any:
        """Return all keys, those of what is asked for each time too."""
        return [
            *super().keys(),
            *(key for key in self._narrowed if not dict.__contains__(self, key)),
        ]

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self.keys())

    def values(self) -> Any:
        """Return all values."""
        return dict(self).values()

    def items(self) -> Any:
        """Return all items."""
        return dict(self).items()


class VeiledState(VeiledDict):
    """What `request.state` holds; what a run leaves there, the application's middleware finds."""

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        if isinstance(self._real, dict):
            self._real[key] = value
