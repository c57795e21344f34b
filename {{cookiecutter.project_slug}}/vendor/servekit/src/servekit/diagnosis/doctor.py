"""Examine a running service by its admin port: sample its workers, judge, write reports."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from servekit.admin.client import AdminError
from servekit.diagnosis.comparison import compare
from servekit.diagnosis.files import writable
from servekit.diagnosis.judgement import document
from servekit.diagnosis.leaks import SECONDS_MAX, holders
from servekit.diagnosis.load import TIMEOUT_SECONDS, WARM_UP_SECONDS, Load
from servekit.diagnosis.own_service import on_cpus
from servekit.diagnosis.readings import Window, read_scrape, window_between
from servekit.diagnosis.report import page, summary
from servekit.diagnosis.requests_file import without_values
from servekit.diagnosis.source import facts
from servekit.diagnosis.stacks import Profile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from servekit.admin.client import AdminClient
    from servekit.diagnosis.readings import Totals
    from servekit.diagnosis.requests_file import Request

HERTZ = 100
PERIOD_SECONDS = 1.0
COUNTING_SECONDS = 300.0
"""At most, of what a worker holds, before and after."""


@dataclass(frozen=True)
class Examination:
    """How long to sample, the load to make meanwhile, if any, and files to write and to compare."""

    seconds: float
    base: str = ""
    host: str = ""
    """What requests call the service, where that is not `base`."""
    requests: tuple[Request, ...] = ()
    rate: float = 0
    output: str = ""
    json: str = ""
    before: Mapping[str, Any] | None = None
    load_cpus: frozenset[int] = frozenset()


def examine(client: AdminClient, wanted: Examination) -> tuple[int, str]:
    """Return the exit code and what is to be said; Ctrl-C ends the sampling and no more.

    Raises:
        AdminError: The admin port does not answer, or a file cannot be written.
    """
    for name in filter(None, (wanted.output, wanted.json)):
        writable(name, replaced=True)
    if wanted.requests:
        refuse_silence(wanted.base)
    sampler = Sampler(client, wanted)
    answers: dict[str, int] = {}
    with suppress(KeyboardInterrupt), load(wanted, answers):
        sampler.sample()
    seen = sampler.document(load=answers)
    growing = [verdict for verdict in seen["verdicts"] if verdict["cause"] == "memory_growth"]
    if growing and sampler.complete:
        found = who_holds(client, wanted, int(growing[0]["workers"][0]), sampler.failures)
        seen = sampler.document(load=answers, memory_holders=found)
    if wanted.json:
        write(wanted.json, json.dumps(seen))
    text = summary(seen)
    if wanted.before is not None:
        text += "".join(f"\nbefore and now: {line}" for line in compare(wanted.before, seen))
    if wanted.output:
        write(wanted.output, page(seen, sampler.profiles))
        text += f"\nwritten to {wanted.output}"
    return int(seen["exit_code"]), text


def who_holds(
    client: AdminClient, wanted: Examination, worker: int, failures: list[str]
) -> list[str] | None:
    """Return who holds what a worker has ever more of, under the same load; None if unknown."""
    seconds = min(wanted.seconds, SECONDS_MAX)
    try:
        with load(replace(wanted, seconds=seconds + COUNTING_SECONDS)):
            return holders(client, worker, seconds)
    except KeyboardInterrupt:
        failures.append("who holds the memory was not asked to the end: Ctrl-C")
    except AdminError as error:
        failures.append(f"who holds the memory is not known: {error}")
    return None


def refuse_silence(base: str) -> None:
    """Refuse to send requests to where nobody listens, before all the sampling.

    Raises:
        AdminError: Nobody does.
    """
    address = urlsplit(base)
    try:
        socket.create_connection((address.hostname, address.port or 80), TIMEOUT_SECONDS).close()
    except OSError as error:
        remedy = "a path alone is asked of PORT: give --url the whole address"
        reason = f"nothing answers at {base}: {error.strerror or error} ({remedy})"
        raise AdminError(reason) from None


class Sampler:
    """The counters of all workers once a second, and a profile of each over the same time."""

    def __init__(self, client: AdminClient, wanted: Examination) -> None:
        self.windows: list[Window] = []
        self.profiles: dict[str, Profile] = {}
        self.failures: list[str] = []
        self.complete = False
        self._client = client
        self._wanted = wanted

    def sample(self) -> None:
        """Sample to the end; whoever interrupts it keeps what was seen."""
        slots = [row["slot"] for row in self._client.workers() if row["state"] == "ready"]
        time.sleep(WARM_UP_SECONDS)
        profiling = [
            threading.Thread(target=self._profile, args=[slot], daemon=True) for slot in slots
        ]
        for thread in profiling:
            thread.start()
        with progress() as show:
            self._scrape_each_second(show)
            for thread in profiling:
                thread.join()
        self.complete = True

    def document(self, **sampled: Any) -> dict[str, Any]:
        """Return all that was seen so far, judged."""
        given = self._wanted
        wanted = {
            "seconds": given.seconds,
            "rate": given.rate,
            # A report is shown to others: values, fields and bodies may hold secrets.
            "base": without_values(given.base),
            "requests": [[each.method, without_values(each.target)] for each in given.requests],
        }
        told = {
            "wanted": wanted,
            "admin": self._client.address,
            "failures": list(self.failures),
            "source": facts(list(self.profiles.values())),
            **sampled,
        }
        profiles = dict(self.profiles)
        return document(self.windows, profiles, complete=self.complete, sampled=told)

    def _scrape_each_second(self, show: Any) -> None:
        begun = time.monotonic()
        before: dict[str, tuple[float, Totals]] = {}
        due = begun
        while due <= begun + self._wanted.seconds:
            time.sleep(max(0.0, due - time.monotonic()))
            asked = time.monotonic()
            after = read_scrape(self._client.metrics())
            # A worker that is busy answers late: its counters are of a time between.
            taken = (asked + time.monotonic()) / 2
            for worker, totals in after.items():
                at, earlier = before.get(worker, (taken, {}))
                self._add(worker, earlier, totals, at=taken - begun, seconds=taken - at)
                before[worker] = taken, totals
            if self._wanted.json:
                write(self._wanted.json, json.dumps(self.document()))
            show(f"{max(0, begun + self._wanted.seconds - taken):3.0f} s left", self.windows)
            due = max(due + PERIOD_SECONDS, time.monotonic())

    def _add(self, worker: str, before: Totals, after: Totals, **times: float) -> None:
        window = window_between(worker, before, after, **times) if before else None
        if window is not None:
            self.windows.append(window)

    def _profile(self, slot: int) -> None:
        seconds = self._wanted.seconds
        options = {"seconds": seconds, "hertz": HERTZ, "format": "collapsed", "around": 1}
        profile = Profile()
        try:
            profile.add(
                self._client.debug("profile", slot, seconds=seconds, options=options).decode()
            )
        except AdminError as error:
            self.failures.append(f"worker {slot} gave no profile: {error}")
        else:
            self.profiles[str(slot)] = profile


@contextmanager
def load(wanted: Examination, answers: dict[str, int] | None = None) -> Iterator[None]:
    """Send requests from another process while this is open, and tell `answers` what ended how.

    They end in time, and early if this is interrupted; where nobody asks for answers, at once.
    """
    if not wanted.requests:
        yield
        return
    seconds = wanted.seconds + WARM_UP_SECONDS
    told = Load(wanted.base, wanted.requests, wanted.rate, seconds, wanted.host).written()
    command = [sys.executable, "-m", "servekit.diagnosis.load"]
    with on_cpus(wanted.load_cpus):
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with process:
        assert process.stdin is not None  # noqa: S101 - as was asked for
        process.stdin.write(told)
        process.stdin.flush()
        try:
            yield
            tell(process, answers)
        except KeyboardInterrupt:
            process.stdin.close()  # so it sends no more
            tell(process, answers)
            raise
        finally:
            process.kill()


def tell(process: subprocess.Popen[bytes], answers: dict[str, int] | None) -> None:
    """Tell what ended how once all have, if anybody asks: each request has a time limit."""
    if answers is not None and process.stdout is not None:
        answers |= json.loads(process.stdout.read() or b"{}")


@contextmanager
def progress() -> Iterator[Any]:
    """Yield what shows on a terminal how far it is, and how the workers are."""
    terminal = sys.stderr.isatty()

    def show(left: str, windows: list[Window]) -> None:
        last = {window.worker: window for window in windows}
        told = [
            f"{name}: {each.requests / each.seconds:.0f}/s, busy {each.busy / each.seconds:.0%}"
            for name, each in sorted(last.items())
        ]
        if terminal:
            sys.stderr.write(f"\r\033[K{left}  {'  '.join(told)}"[:118])
            sys.stderr.flush()

    try:
        yield show
    finally:
        if terminal:
            sys.stderr.write("\r\033[K")


def write(name: str, text: str) -> None:
    """Write a file, whole or not at all.

    Raises:
        AdminError: It cannot be written.
    """
    path = Path(name)
    new = path.with_name(f".{path.name}.new")
    try:
        new.write_text(text, encoding="utf-8")
        new.replace(path)
    except OSError as error:
        raise AdminError(f"{path} cannot be written: {error.strerror}") from None
