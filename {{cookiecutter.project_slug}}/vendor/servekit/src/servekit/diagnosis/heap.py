"""What a worker holds, and what it holds more than before: who keeps it, by name."""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from servekit.admin.client import AdminError
from servekit.diagnosis.files import writable
from servekit.notation.numbers import short_number

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from servekit.admin.client import AdminClient

Snapshot = dict[str, Any]
"""What a worker answers to `heap`; see `servekit.monitors.heap.snapshot`."""

SCHEMA = 1
ALL = 100_000
SECONDS = 150.0
NEW_MIN = 20
ADDED_MAX = 3
"""Lines that add to what a name holds, told of each."""
NOBODY = "(no name)"
WEAK = "weakref.ReferenceType"
"""Grows with what something else holds."""


@dataclass(frozen=True)
class Held:
    """What one name holds, or holds more than before: the first on the way in that are many."""

    name: str
    place: str
    through: tuple[str, ...]
    count: int
    """How many there are of what the path ends in."""
    bytes: int
    """Of all that the name holds."""
    mostly: str = ""
    """The type that most of the bytes are of."""
    added_at: tuple[str, ...] = ()
    """The lines that add to it, as far as the source tells."""

    def __str__(self) -> str:
        place = f"  ({self.shown_place})" if self.place else ""
        return f"{self.name}{'[...] -> ' if self.through else ''}{self.what}{place}"

    @property
    def what(self) -> str:
        """Say through which types the name holds it."""
        most = f", mostly {short(self.mostly)}" if self.mostly not in {"", *self.through} else ""
        return " -> ".join(map(short, self.through)) + most

    @property
    def shown_place(self) -> str:
        """Return the place, and where it is added to, from this folder on if they are below it."""
        added = [f"added to at {at}" for at in self.added_at[:ADDED_MAX] if at != self.place]
        return ", ".join([self.place, *added]).replace(f"{Path.cwd()}/", "")


def answer(client: AdminClient, options: argparse.Namespace) -> str:
    """Return what was asked for by the options of the command `heap`.

    Raises:
        AdminError: It is not to be had.
    """
    if options.out:
        writable(options.out)
    if options.growth:
        before, after = grow(client, options.worker, options.growth)
        text = difference(before, after, options.top)
    else:
        after = take_snapshot(client, options.worker)
        text = told(after, options.top)
    return text + write_snapshot(after, options.out)


def compared(before: str, after: str, top: int) -> str:
    """Return what one file of a heap has more than another.

    Raises:
        AdminError: One of them is not to be had.
    """
    return difference(read_snapshot(before), read_snapshot(after), top)


def take_snapshot(client: AdminClient, worker: int | None) -> Snapshot:
    """Have a worker counted; the largest one if none is named.

    Raises:
        AdminError: There is none, or it refused.
    """
    worker = max(client.ready(worker), key=lambda row: row["rss_bytes"])["slot"]
    counted = client.debug("heap", worker, seconds=SECONDS, options={"top": ALL})
    snapshot: Snapshot = json.loads(counted)
    return snapshot | {"worker": worker}


def grow(client: AdminClient, worker: int | None, seconds: float) -> tuple[Snapshot, Snapshot]:
    """Have one worker counted twice.

    Raises:
        AdminError: It was replaced meanwhile, or as with `take_snapshot`.
    """
    before = take_snapshot(client, worker)
    if sys.stderr.isatty():
        sys.stderr.write(f"counted once; again in {seconds:g} s\n")
    time.sleep(seconds)
    after = take_snapshot(client, before["worker"])
    if after["pid"] != before["pid"]:
        raise AdminError(f"worker {before['worker']} was replaced meanwhile")
    return before, after


def read_snapshot(name: str) -> Snapshot:
    """Return what `heap --out` wrote.

    Raises:
        AdminError: It cannot be read, or is something else.
    """
    try:
        found: Snapshot = json.loads(Path(name).read_text(encoding="utf-8"))
    except OSError as error:
        raise AdminError(f"{name} cannot be read: {error.strerror}") from None
    except ValueError:
        raise AdminError(f"{name} is no snapshot of a heap") from None
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        raise AdminError(f"{name} is no snapshot of a heap that this version can read")
    if "worker" not in found:
        raise AdminError(f"{name} was not written by `heap --out`, which keeps all that it counted")
    return found


def write_snapshot(snapshot: Snapshot, name: str) -> str:
    """Keep a snapshot under a name, if there is one, and return what is to be said of that.

    Raises:
        AdminError: It cannot be written.
    """
    if not name:
        return ""
    try:
        Path(name).write_text(json.dumps(snapshot), encoding="utf-8")
    except OSError as error:
        raise AdminError(f"{name} cannot be written: {error.strerror}") from None
    return f"\n\nwritten to {name}"


def held(after: Snapshot, before: Snapshot | None = None) -> list[Held]:
    """Return who holds most, or, of those that hold 20 of a type more than before, who grew most.

    What no name holds is left out: it may be garbage that nobody has collected yet.
    """
    grown: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in growth(after, before) if before else after["holders"]:
        if row["held_by"] != NOBODY and row["through"][-1:] != [WEAK]:
            grown[row["held_by"]].append(row)
    found = []
    for name, rows in grown.items():
        many = [row for row in rows if row["count"] >= NEW_MIN] or ([] if before else rows)
        size = sum(row["bytes"] for row in rows)
        if many and size > 0:
            first = min(many, key=lambda row: (len(row["through"]), -row["bytes"]))
            mostly = max(rows, key=lambda row: row["bytes"])["through"][-1:]
            one = Held(name, first["place"], tuple(first["through"]), first["count"], size)
            added_at = tuple(first.get("added_at", ()))
            found.append(replace(one, mostly="".join(mostly), added_at=added_at))
    return sorted(found, key=lambda one: -one.bytes)


def growth(after: Snapshot, before: Snapshot) -> Iterator[dict[str, Any]]:
    """Yield the holders with what they hold more; what a snapshot does not list it has 19 of."""
    earlier = {(row["held_by"], *row["through"]): row for row in before["holders"]}
    unlisted = {"count": NEW_MIN - 1, "bytes": 0}
    for row in after["holders"]:
        then = earlier.get((row["held_by"], *row["through"]), unlisted)
        yield row | {name: row[name] - then[name] for name in unlisted}


def told(snapshot: Snapshot, top: int) -> str:
    """Return what there is to say of one snapshot."""
    head = f"{described(snapshot)}: {snapshot['objects']:,} objects, {size(snapshot['bytes'])}"
    lines = [head, "", "by type"]
    lines += [
        f"{row['count']:>11,} {size(row['bytes']):>10}  {short(row['type'])}"
        for row in snapshot["types"][:top]
    ]
    lines += ["", "by who holds them"]
    lines += [f"{one.count:>11,} {size(one.bytes):>10}  {one}" for one in held(snapshot)[:top]]
    return "\n".join(lines)


def difference(before: Snapshot, after: Snapshot, top: int) -> str:
    """Return what grew between two snapshots, and who holds it."""
    requests = after["requests"] - before["requests"]
    if before["pid"] != after["pid"] or requests < 0:
        requests = 0  # of two processes
    seconds = after["at"] - before["at"]
    head = f"{described(after)}: {seconds:.0f} s, {requests:,} requests between the two"
    if before["pid"] != after["pid"]:
        head = f"{described(after)}, compared with another process, {described(before)}"
    grown = held(after, before)
    lines = [head, "", "who holds more" if grown else f"nobody holds {NEW_MIN} of a type more"]
    lines += [f"{each(one.count, requests)} {plus(one.bytes):>11}  {one}" for one in grown[:top]]
    lines += ["", "by type"]
    earlier = {row["type"]: (row["count"], row["bytes"]) for row in before["types"]}
    types = []
    for row in after["types"]:
        count, bytes_before = earlier.get(row["type"], (0, 0))
        types.append((row["bytes"] - bytes_before, row["count"] - count, row["type"]))
    for grew, count, kind in sorted(types, reverse=True)[:top]:
        if grew > 0 and count > 0:
            lines.append(f"{each(count, requests)} {plus(grew):>11}  {short(kind)}")
    return "\n".join(lines)


def each(count: int, requests: int) -> str:
    """Return a growth, and how much it is for each request."""
    share = f"{short_number(count / requests)} a request" if requests else ""
    return f"{count:>+11,} {share:>17}"


def described(snapshot: Snapshot) -> str:
    """Return whose snapshot it is."""
    return f"worker {snapshot['worker']} (pid {snapshot['pid']})"


def short(kind: str) -> str:
    """Return a type without the module that all know."""
    return kind.removeprefix("builtins.")


def plus(count: int) -> str:
    """Return a growth in bytes."""
    return f"+{size(count)}"


def size(count: int) -> str:
    """Return bytes as people read them."""
    if abs(count) < 2**20:
        return f"{count / 2**10:,.1f} KiB"
    return f"{count / 2**20:,.1f} MiB"
