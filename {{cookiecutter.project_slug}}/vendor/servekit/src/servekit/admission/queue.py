"""Requests that wait to be started: which is next, and which is refused."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Iterator
from itertools import islice
from typing import Literal

Importance = Literal["critical", "normal", "sheddable"]

NEWEST_LOOKED_AT = 8


class Waiter:
    """A queued request; `admitted` becomes True, or False when it is refused."""

    __slots__ = ("admitted", "client", "importance", "since")

    def __init__(self, importance: Importance, client: str, since: float) -> None:
        self.admitted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.importance = importance
        self.client = client
        self.since = since


class RequestQueue:
    """Hold waiting requests by importance; `len()` is how many wait.

    What is started, refused or gone is only marked, and dropped at an end of its queue.
    """

    def __init__(self) -> None:
        self._by_importance: dict[Importance, deque[Waiter]] = {
            "critical": deque(),
            "normal": deque(),
            "sheddable": deque(),
        }
        self._count_of_client: Counter[str] = Counter()
        self._previous_client = ""
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def add(self, waiter: Waiter) -> None:
        """Let a request wait, behind the others of its importance."""
        self._by_importance[waiter.importance].append(waiter)
        self._count_of_client[waiter.client] += 1
        self._length += 1

    def remove(self, waiter: Waiter) -> None:
        """Note that a waiter was started or refused, or has gone."""
        self._length -= 1
        self._count_of_client[waiter.client] -= 1
        if not self._count_of_client[waiter.client]:
            del self._count_of_client[waiter.client]

    def oldest_wait_seconds(self, now: float) -> float:
        """Return how many seconds the oldest has been waiting."""
        return now - min((queue[0].since for queue in self._occupied_queues()), default=now)

    def next(self, *, newest_first: bool) -> Waiter | None:
        """Return which is to be started, the most important first; None when none waits.

        Newest first, clients take turns: many requests of one do not keep another's from the front.
        """
        queue = next(self._occupied_queues(), None)
        if queue is None:
            return None
        chosen = queue[-1] if newest_first else queue[0]
        if newest_first and chosen.client == self._previous_client:
            waiting = islice(reversed(queue), NEWEST_LOOKED_AT)
            undecided = (waiter for waiter in waiting if not waiter.admitted.done())
            of_others = (waiter for waiter in undecided if waiter.client != self._previous_client)
            chosen = next(of_others, chosen)
        self._previous_client = chosen.client
        return chosen

    def first_to_refuse(self, client: str, share: float) -> Waiter | None:
        """Return the oldest of the least important.

        If `client` has more than `share` of the queue, that is one of its own.
        """
        client_exceeds_share = self._count_of_client[client] > share * len(self)
        for queue in reversed([*self._occupied_queues()]):
            for waiter in queue if client_exceeds_share else [queue[0]]:
                counts = not client_exceeds_share or waiter.client == client
                if counts and not waiter.admitted.done():
                    return waiter
        return None

    def _occupied_queues(self) -> Iterator[deque[Waiter]]:
        """Yield the queues that hold anyone, both ends of which still wait."""
        for queue in self._by_importance.values():
            while queue and queue[0].admitted.done():
                queue.popleft()
            while queue and queue[-1].admitted.done():
                queue.pop()
            if queue:
                yield queue
