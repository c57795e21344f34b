"""Profiles of a running service: asked of its workers at once, and written as one file."""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from servekit.admin.client import AdminError
from servekit.diagnosis.flame_graph import flame_graph
from servekit.diagnosis.stacks import Profile

if TYPE_CHECKING:
    from servekit.admin.client import AdminClient

ENDINGS = {"html": "html", "speedscope": "json", "collapsed": "txt"}
LINES = 5


@dataclass(frozen=True)
class Sampling:
    """How long, how often a second, and which worker is sampled; None is all of them."""

    seconds: float
    hertz: float
    worker: int | None = None


@dataclass
class Taken:
    """A profile, what it is of, and what went wrong with some of the workers."""

    profile: Profile
    told: str
    failures: list[str]


def take_profile(client: AdminClient, sampling: Sampling) -> Taken:
    """Sample the workers at once.

    Raises:
        AdminError: None of them answered.
    """
    slots = [row["slot"] for row in client.workers() if row["state"] == "ready"]
    if sampling.worker is not None:
        slots = [sampling.worker]
    seconds, hertz = sampling.seconds, sampling.hertz
    options = {"seconds": seconds, "hertz": hertz, "format": "collapsed"}
    told = f"Workers {', '.join(map(str, slots))}; {seconds:g} s, {hertz:g} samples a second."
    taken = Taken(Profile(), told, [])
    with ThreadPoolExecutor(max(1, len(slots))) as threads:
        calls = [
            threads.submit(client.debug, "profile", slot, seconds=seconds, options=options)
            for slot in slots
        ]
        show_progress(calls, seconds)
        for slot, call in zip(slots, calls, strict=True):
            try:
                taken.profile.add(call.result().decode())
            except AdminError as error:
                taken.failures.append(f"worker {slot}: {error}")
    if not taken.profile.samples:
        raise AdminError("; ".join(taken.failures) or "no worker is ready")
    return taken


def write_profile(taken: Taken, form: str, output: str) -> str:
    """Write `html`, `speedscope` or `collapsed`, and return what is to be said of it.

    Raises:
        AdminError: The file cannot be written.
    """
    path = Path(output or f"profile-{time.strftime('%Y%m%d-%H%M%S')}.{ENDINGS[form]}")
    try:
        path.write_text(rendered(taken.profile, form, taken.told), encoding="utf-8")
    except OSError as error:
        raise AdminError(f"{path} cannot be written: {error.strerror}") from None
    return "\n".join([*taken.failures, *summary(taken.profile), f"written to {path}"])


def rendered(profile: Profile, form: str, told: str) -> str:
    """Return a profile as the text of a file."""
    if form == "collapsed":
        return profile.collapsed()
    if form == "speedscope":
        return json.dumps(profile.speedscope())
    return flame_graph(profile, title="Where the event loops spend their time", told=told)


def summary(profile: Profile) -> list[str]:
    """Return how busy the loops were, and the lines of the service's own code that kept them so."""
    busy = profile.samples - profile.idle
    lines = [f"busy {busy / profile.samples:.1%} of the time"]
    for frame, count in profile.own_lines().most_common(LINES):
        lines.append(f"{count / busy:6.1%}  {frame.name}  {frame.place}")
    return lines


def show_progress(calls: list[Future[bytes]], seconds: float) -> None:
    """Count down on a terminal until all calls have ended."""
    ends = time.monotonic() + seconds
    terminal = sys.stderr.isatty()
    while not all(call.done() for call in calls):
        if terminal:
            sys.stderr.write(f"\rsampling, {max(0, ends - time.monotonic()):3.0f} s left ")
            sys.stderr.flush()
        time.sleep(0.1)
    if terminal:
        sys.stderr.write(f"\r{'':30}\r")
