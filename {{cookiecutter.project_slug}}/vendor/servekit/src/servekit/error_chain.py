"""What an exception was raised for, and that for: each once, as one may be its own cause."""

from __future__ import annotations

from collections.abc import Iterator


def chain(error: BaseException | None, *, contexts: bool = False) -> Iterator[BaseException]:
    """Yield an exception and its causes, with `contexts` also what was being handled then."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (error.__context__ if contexts else None)
