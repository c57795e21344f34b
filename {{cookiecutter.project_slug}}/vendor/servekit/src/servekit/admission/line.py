"""Requests that wait to be started: who is next, and who has to leave."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Iterator
from itertools import islice
from typing import Literal

Importance = Literal["critical", "normal", "sheddable"]

NEWEST_LOOKED_AT = 8


class Waiter:
    """A request in line; `admitted` becomes True, or False when it has to leave."""

    __slots__ = ("admitted", "client", "importance", "since")

    def __init__(self, importance: Importance, client: str, since: float) -> None:
        self.admitted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.importance = importance
        self.client = client
        self.since = since


class Line:
    """Wait by importance; `len()` is how many do.

    Whoever is called or leaves is only marked, and dropped when he comes to an end of his queue.
    """

    def __init__(self) -> None:
        self._queues: dict[Importance, deque[Waiter]] = {
            "critical": deque(),
            "normal": deque(),
            "sheddable": deque(),
        }
        self._of_client: Counter[str] = Counter()
        self._last_client = ""
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def add(self, waiter: Waiter) -> None:
        """Let a request wait, behind the others of its importance."""
        self._queues[waiter.importance].append(waiter)
        self._of_client[waiter.client] += 1
        self._length += 1

    def remove(self, waiter: Waiter) -> None:
        """Note that a waiter has been told, or has gone."""
        self._length -= 1
        self._of_client[waiter.client] -= 1
        if not self._of_client[waiter.client]:
            del self._of_client[waiter.client]

    def waited(self, now: float) -> float:
        """Return how many seconds the oldest has been waiting."""
        return now - min((queue[0].since for queue in self._ends()), default=now)

    def next(self, *, newest_first: bool) -> Waiter | None:
        """Return who is to be started, the most important first; None when nobody waits.

        Newest first, clients take turns: many requests of one do not keep another's from the front.
        """
        queue = next(self._ends(), None)
        if queue is None:
            return None
        chosen = queue[-1] if newest_first else queue[0]
        if newest_first and chosen.client == self._last_client:
            waiting = islice(reversed(queue), NEWEST_LOOKED_AT)
            others = (one for one in waiting if not one.admitted.done())
            chosen = next((one for one in others if one.client != self._last_client), chosen)
        self._last_client = chosen.client
        return chosen

    def first_to_leave(self, client: str, share: float) -> Waiter | None:
        """Return the oldest of the least important.

        If `client` has more than `share` of the line, that is one of its own.
        """
        own = self._of_client[client] > share * len(self)
        for queue in reversed([*self._ends()]):
            for waiter in queue if own else [queue[0]]:
                if not waiter.admitted.done() and (not own or waiter.client == client):
                    return waiter
        return None

    def _ends(self) -> Iterator[deque[Waiter]]:
        """Yield the queues that hold anyone, both ends of which still wait."""
        for queue in self._queues.values():
            while queue and queue[0].admitted.done():
                queue.popleft()
            while queue and queue[-1].admitted.done():
                queue.pop()
            if queue:
                yield queue
