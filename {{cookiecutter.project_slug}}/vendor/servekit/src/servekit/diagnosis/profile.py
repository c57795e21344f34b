"""Profiles of a running service: asked of its workers at once, and written as one file."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from servekit.admin.client import AdminError
from servekit.diagnosis.files import writable
from servekit.diagnosis.flame_graph import View, flame_graph
from servekit.diagnosis.stacks import HOLDS, Profile, by_function, own_frame
from servekit.diagnosis.ways import callers_of, own_ways

if TYPE_CHECKING:
    from collections.abc import Iterable

    from servekit.admin.client import AdminClient

ENDINGS = {"html": "html", "speedscope": "json", "collapsed": "txt"}
LINES = 5


COMPUTING = View("Where the event loops spend their time")
VIEWS = {
    "wall": COMPUTING,
    "cpu": View(
        "What the event loops compute",
        "Computing: {busy:.1%} of the time. A bar is as wide as its function's share of that; "
        "below it are those that it called.",
    ),
    "waits": View(
        "Where requests wait",
        "A bar is as wide as its share of the seconds of all requests: route, then the lines that "
        "await each other. A request that waits for several tasks is followed into the first.",
        "ms",
        "requests",
        "What is awaited, innermost",
    ),
}


@dataclass(frozen=True)
class Sampling:
    """How long, how often a second, what, and which worker is sampled; None is all of them."""

    seconds: float
    hertz: float
    worker: int | None = None
    mode: str = "wall"


@dataclass
class Taken:
    """A profile, what it is of, and what went wrong with some of the workers."""

    profile: Profile
    told: str
    failures: list[str]
    view: View = COMPUTING


def take_profile(client: AdminClient, sampling: Sampling) -> Taken:
    """Sample the workers at once.

    Raises:
        AdminError: None of them is ready, or answered.
    """
    slots = [row["slot"] for row in client.ready(sampling.worker)]
    seconds, hertz = sampling.seconds, sampling.hertz
    options = {"seconds": seconds, "hertz": hertz, "mode": sampling.mode, "format": "collapsed"}
    told = f"Workers {', '.join(map(str, slots))}; {seconds:g} s, up to {hertz:g} samples a second."
    taken = Taken(Profile(), told, [], VIEWS[sampling.mode])
    calls = {slot: Future[bytes]() for slot in slots}

    def ask(slot: int) -> None:
        try:
            calls[slot].set_result(client.debug("profile", slot, seconds=seconds, options=options))
        except Exception as error:  # noqa: BLE001 - who waits for the result is told
            calls[slot].set_exception(error)

    for slot in slots:  # daemons: Ctrl-C waits for none
        threading.Thread(target=ask, args=[slot], daemon=True).start()
    show_progress(calls.values(), seconds)
    for slot, call in calls.items():
        try:
            taken.profile.add(call.result().decode())
        except AdminError as error:
            taken.failures.append(f"worker {slot}: {error}")
    if not taken.profile.samples:
        raise AdminError("; ".join(taken.failures) or "no request was waiting")
    return taken


def read_profile(name: str) -> Taken:
    """Return a profile that a worker kept.

    Raises:
        AdminError: The file cannot be read, or holds something else.
    """
    taken = Taken(Profile(), f"From {name}.", [])
    try:
        taken.profile.add(Path(name).read_text(encoding="utf-8"))
    except OSError as error:
        raise AdminError(f"{name} cannot be read: {error.strerror}") from None
    except (ValueError, IndexError):
        raise AdminError(f"{name} is no profile of collapsed stacks") from None
    return taken


def destination(form: str, output: str) -> Path:
    """Return where a profile is written: in the temporary folder where this one is read-only.

    Raises:
        AdminError: It cannot be written there; known before all the sampling.
    """
    if output:
        return writable(output)
    name = f"profile-{time.strftime('%Y%m%d-%H%M%S')}.{ENDINGS[form]}"
    return Path(name) if os.access(Path(), os.W_OK) else writable(f"{tempfile.gettempdir()}/{name}")


def write_profile(taken: Taken, form: str, path: Path) -> str:
    """Write `html`, `speedscope` or `collapsed`, and return what is to be said of it.

    Raises:
        AdminError: The file cannot be written.
    """
    try:
        path.write_text(rendered(taken, form), encoding="utf-8")
    except OSError as error:
        raise AdminError(f"{path} cannot be written: {error.strerror}") from None
    return "\n".join([*taken.failures, *summary(taken), f"written to {path}"])


def rendered(taken: Taken, form: str) -> str:
    """Return a profile as the text of a file."""
    if form == "collapsed":
        return taken.profile.collapsed()
    if form == "speedscope":
        return json.dumps(taken.profile.speedscope())
    return flame_graph((taken.profile, taken.view), told=taken.told)


def summary(taken: Taken) -> list[str]:
    """Return how much it is, and where in the service's own code most of it is.

    That is functions, each at its line that was seen most; of requests that wait it is lines.
    """
    profile = taken.profile
    busy = profile.samples - profile.idle
    if taken.view.unit == "ms":
        lines = [f"{busy / 1000:.1f} s of requests, of which they waited"]
        seen = waiting(profile)
    else:
        lines = [f"busy {busy / max(1, profile.samples):.1%} of the time"]
        functions = by_function(profile.own_lines())
        callers = callers_of(own_ways(profile.stacks))
        seen = Counter(
            {
                f"{one.name}  {one.place}{callers[one.name, one.file]}": count
                for one, count in functions.items()
            }
        )
    for place, count in seen.most_common(LINES):
        lines.append(f"{count / max(1, busy):6.1%}  {place}")
    return lines


def waiting(profile: Profile) -> Counter[str]:
    """Return how long requests waited at lines of the service's own, each with its route."""
    found: Counter[str] = Counter()
    for (route, *stack), count in profile.stacks.items():
        own = own_frame(tuple(stack))
        if own is not None:
            awaited = stack[len(stack) - stack[::-1].index(own) :]
            names = [frame.name for frame in awaited if frame.file]
            to = f"  awaits {' ... '.join(dict.fromkeys([names[0], names[-1]]))}" if names else ""
            held = "".join(f"  {one.name}" for one in awaited if one.name.startswith(HOLDS))
            found[f"{own.name}  {own.place}  {route.name}{to}{held}"] += count
    return found


def show_progress(calls: Iterable[Future[bytes]], seconds: float) -> None:
    """Count down on a terminal until all calls have ended."""
    ends = time.monotonic() + seconds
    terminal = sys.stderr.isatty()
    try:
        while not all(call.done() for call in calls):
            if terminal:
                sys.stderr.write(f"\rsampling, {max(0, ends - time.monotonic()):3.0f} s left ")
                sys.stderr.flush()
            time.sleep(0.1)
    finally:
        if terminal:
            sys.stderr.write(f"\r{'':30}\r")
