"""Open-loop HTTP load: send times are scheduled, and latency counts from the scheduled time."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from chaos.traffic.client import Answer, Connection, Request


@dataclass(frozen=True)
class Sample:
    """One request: seconds into the run, seconds from schedule to answer, status or error.

    `worker` is the process behind its connection, 0 where none is known; `answer` is there where
    the load keeps answers.
    """

    scheduled: float
    latency: float
    status: int
    error: str = ""
    worker: int = 0
    request: Request = field(default_factory=lambda: Request("/"))
    answer: Answer | None = None

    @property
    def failed(self) -> bool:
        """No answer at all, or a server error that is not a deliberate 503."""
        return bool(self.error) or (self.status >= 500 and self.status != 503)  # noqa: PLR2004


@dataclass
class Outcome:
    """What a run of load saw."""

    samples: list[Sample] = field(default_factory=list)
    seconds: float = 0.0
    began: float = float("nan")
    """By `perf_counter`; NaN where samples of several runs stand together."""

    def select(self, keep: Callable[[Sample], bool]) -> Outcome:
        """Return the samples that `keep` accepts, as an outcome of the same length."""
        samples = [sample for sample in self.samples if keep(sample)]
        return Outcome(samples, self.seconds, self.began)

    @property
    def statuses(self) -> Counter[int]:
        return Counter(sample.status for sample in self.samples)

    @property
    def errors(self) -> Counter[str]:
        return Counter(sample.error for sample in self.samples if sample.error)

    @property
    def failed(self) -> int:
        return sum(sample.failed for sample in self.samples)

    @property
    def goodput(self) -> float:
        """Answers below 400, a second."""
        good = sum(not sample.error and sample.status < 400 for sample in self.samples)  # noqa: PLR2004
        return good / self.seconds if self.seconds else 0.0

    def percentile(self, fraction: float) -> float:
        """Return the latency in seconds that `fraction` of the answered requests stay below."""
        latencies = sorted(sample.latency for sample in self.samples if not sample.error)
        if not latencies:
            return float("nan")
        return latencies[min(len(latencies) - 1, int(len(latencies) * fraction))]


class Load:
    """Requests at a fixed rate over a pool of keep-alive connections."""

    def __init__(
        self,
        base_url: str,
        *,
        connections: int = 50,
        timeout: float = 30.0,
        keep_answers: bool = False,
        in_turn: int = 0,
    ) -> None:
        """Keep `connections` at most; open so many beforehand and use them `in_turn`."""
        parts = urlsplit(base_url)
        self._address = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._places = asyncio.Semaphore(connections)
        self._idle: list[Connection] = []
        self._timeout = timeout
        self._keep_answers = keep_answers
        self._in_turn = in_turn
        self._stopping = asyncio.Event()

    async def run(
        self, requests: Request | Sequence[Request], *, rate: float, seconds: float
    ) -> Outcome:
        """Send `requests` in turn at `rate` a second for `seconds`, and wait for the answers."""
        turn = itertools.cycle([requests] if isinstance(requests, Request) else requests)
        self._idle += [await Connection.open(self._address) for _ in range(self._in_turn)]
        begin = time.perf_counter()
        outcome = Outcome(seconds=seconds, began=begin)
        async with asyncio.TaskGroup() as tasks:
            async for scheduled in self._schedule(begin, rate, seconds):
                request = next(turn)
                tasks.create_task(self._one(request, begin, scheduled, outcome))
        self.close()
        return outcome

    def stop(self) -> None:
        """End the run early; requests on their way are still waited for."""
        self._stopping.set()

    def close(self) -> None:
        """Close the idle connections."""
        while self._idle:
            self._idle.pop().close()

    async def _schedule(self, begin: float, rate: float, seconds: float) -> AsyncIterator[float]:
        for number in range(int(rate * seconds)):
            scheduled = number / rate
            delay = begin + scheduled - time.perf_counter()
            if delay > 0:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), delay)
            if self._stopping.is_set():
                return
            yield scheduled

    async def _one(
        self, request: Request, begin: float, scheduled: float, outcome: Outcome
    ) -> None:
        status, error, connection, answer = 0, "", None, None
        try:
            async with asyncio.timeout(self._timeout), self._places:
                connection = self._idle_connection() or await Connection.open(self._address)
                answer = await connection.exchange(request)
                status = answer.status
                self._put_back(connection, answer)
        except TimeoutError:
            error = "timeout"
        except (OSError, EOFError) as failure:
            error = type(failure).__name__
        if connection is not None and error:
            connection.close()
        latency = time.perf_counter() - begin - scheduled
        worker = connection.worker if connection is not None else 0
        kept = answer if self._keep_answers else None
        sample = Sample(scheduled, latency, status, error, worker, request, kept)
        outcome.samples.append(sample)

    def _put_back(self, connection: Connection, answer: Answer) -> None:
        if answer.keep_alive:
            self._idle.append(connection)
        else:
            connection.close()

    def _idle_connection(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop(0 if self._in_turn else -1)
            if connection.usable:
                return connection
            connection.close()
        return None
