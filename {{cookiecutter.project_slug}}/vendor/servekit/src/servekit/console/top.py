"""The console in a terminal: one screen, drawn anew each second; without one, plain text."""

from __future__ import annotations

import shutil
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from servekit.log_lines import terminal_safe
from servekit.notation.numbers import short_number

if TYPE_CHECKING:
    from servekit.admin.client import AdminClient

STREAM = "/console/stream"
ENTER, LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
HOME, END_OF_LINE, END_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"
BARS = "▁▂▃▄▅▆▇█"
BARS_MOST, BARS_LEAST = 20, 5
WIDTH_BESIDE_BARS = 92
EVENTS_KEPT = 50
READINGS_MAX = 3
"""How many `--once` waits for: what no worker tells will not come."""
WIDTH = 160
"""Of the graphs' lines where there is no terminal to ask."""
GRAPHS = {"rate": "req/s", "lag_seconds": "lag ms", "utilization": "busy %"}
SCALES = {"rate": 1.0, "lag_seconds": 1e3, "utilization": 1e2}
LEAST_TOP = {"rate": 1.0, "lag_seconds": 50.0, "utilization": 100.0}
"""A graph's scale reaches at least so high: what is far below is no mountain."""


class Screen:
    """What is shown: the newest document, a minute of some figures, the last events."""

    def __init__(self) -> None:
        self._past: dict[tuple[int | None, str], deque[float | None]] = {}
        self._events: deque[dict[str, Any]] = deque(maxlen=EVENTS_KEPT)
        self._document: dict[str, Any] = {}
        self._taken = 0
        self._about: dict[str, str] = {}

    @property
    def complete(self) -> bool:
        """Whether there is a second reading, and so a rate, or none is to be had."""
        rated = any("rate" in row for row in self._document.get("workers", ()))
        return rated or self._taken >= READINGS_MAX

    def take(self, document: dict[str, Any]) -> None:
        """Take a line of the stream."""
        if "about" in document:
            self._about = document["about"]
            return
        self._document = document
        self._taken += 1
        self._events.extendleft(document["events"])
        before, self._past = self._past, {}
        for row in document["workers"]:
            for name in GRAPHS:
                key = row["pid"], name
                self._past[key] = before.get(key) or deque(maxlen=BARS_MOST)
                self._past[key].append(row.get(name))

    def text(self, width: int = 0, height: int = 0, *, bars: bool) -> str:
        """Return the screen as lines that fit; 0 is as long, or as many, as they are."""
        document = self._document
        wide = width or WIDTH
        room = min(BARS_MOST, (wide - WIDTH_BESIDE_BARS) // len(GRAPHS) - 1) if bars else 0
        workers = self._workers(document["workers"], room if room >= BARS_LEAST else 0)
        lines = [self._headline(document), "", *workers, ""]
        lines += [f"RUNNING NOW ({len(document['running'])})"]
        lines += [
            f"{one['seconds']:8.1f} s  w{one['worker']:<3} {one['method']:<6} {one['route']}"
            f"  {one['place']}"
            for one in document["running"][:8]
        ]
        lines += ["", *cache_lines(document["caches"]), *pool_lines(document["pools"])]
        lines += ["EVENTS, newest first"]
        lines += [event_line(event) for event in self._events]
        if height:
            lines = lines[:height]
        return "\n".join(terminal_safe(line)[: width or None].rstrip() for line in lines)

    def _headline(self, document: dict[str, Any]) -> str:
        rows = document["workers"]
        ready = sum(row["state"] == "ready" and row.get("answers", True) for row in rows)
        p99 = max((row["p99_seconds"] for row in rows if row.get("p99_seconds")), default=None)
        parts = [
            self._about.get("name", ""),
            time.strftime("%H:%M:%S", time.localtime(document["at"])),
            f"{ready} of {document['wanted']} workers answer",
            f"{total(rows, 'rate'):.0f} req/s",
            f"p99 {milliseconds(p99)} ms",
            f"errors {total(rows, 'errors_rate'):.1f}/s",
            f"shed {total(rows, 'shed_rate'):.1f}/s",
        ]
        if document["stopping"]:
            parts.append("STOPPING")
        return "  ".join(parts)

    def _workers(self, rows: list[dict[str, Any]], room: int) -> list[str]:
        space = " " * (room + 1) if room else ""
        titles = "".join(f"{title:>8}{space}" for title in GRAPHS.values())
        head = f"slot      pid state     {titles}  p99 ms  MiB run press  restarts"
        return [head, *(self._worker(row, room) for row in rows)]

    def _worker(self, row: dict[str, Any], room: int) -> str:
        cells = f"{row['slot']:>4} {row['pid'] or '-':>8} {state_of(row):<10}"
        for name, scale in SCALES.items():
            value = row.get(name)
            cells += f"{'-' if value is None else f'{value * scale:.0f}':>8}"
            if room:
                past = [each and each * scale for each in self._past[row["pid"], name]]
                cells += f" {graph(past[-room:], LEAST_TOP[name]):>{room}}"
        restarts = " ".join(f"{reason}:{count}" for reason, count in row["restarts"].items())
        return (
            f"{cells}{milliseconds(row.get('p99_seconds')):>8}{row.get('rss_bytes', 0) >> 20:>5}"
            f"{row.get('active', '-'):>4}{row.get('pressure') or 0:>6.0%}  {restarts or '-'}"
        )


def show(client: AdminClient, *, once: bool) -> str:
    """Draw until Ctrl-C, or return the text of one moment.

    Raises:
        AdminError: The admin port does not answer, or refuses.
    """
    screen = Screen()
    terminal = sys.stdout.isatty() and not once
    bars = "utf" in (sys.stdout.encoding or "").lower()
    if terminal:
        sys.stdout.write(ENTER)
    try:
        for document in client.follow(STREAM):
            screen.take(document)
            if "about" in document:
                continue
            if terminal:
                size = shutil.get_terminal_size()
                draw(screen.text(size.columns, size.lines, bars=bars))
            elif once and screen.complete:
                return screen.text(bars=bars)
            elif not once:
                print(screen.text(bars=bars), end="\n\n", flush=True)  # noqa: T201 - the answer
    except KeyboardInterrupt:
        return ""
    finally:
        if terminal:
            sys.stdout.write(LEAVE)
            sys.stdout.flush()
    return "the service has ended"


def draw(text: str) -> None:
    """Put a text over the screen without blanking it first."""
    body = text.replace("\n", f"{END_OF_LINE}\r\n")
    sys.stdout.write(f"{HOME}{body}{END_OF_LINE}{END_OF_SCREEN}")
    sys.stdout.flush()


def graph(values: list[float | None], least_top: float) -> str:
    """Return values as bars, newest at the right; a gap where one is unknown."""
    top = max(least_top, *(value or 0 for value in values))
    last = len(BARS) - 1
    drawn = (" " if value is None else BARS[min(last, int(value / top * last))] for value in values)
    return "".join(drawn)


def state_of(row: dict[str, Any]) -> str:
    """Return the state of a worker, and that it is silent, if it is."""
    if row["state"] == "ready" and not row.get("answers", True):
        return f"silent {row['heartbeat_age_seconds']:.0f}s"
    return str(row["state"])


def total(rows: list[dict[str, Any]], name: str) -> float:
    """Return the sum of a figure over the workers that have it."""
    return sum(row.get(name) or 0.0 for row in rows)


def milliseconds(seconds: float | None) -> str:
    """Return a time as people read it."""
    return "-" if seconds is None else short_number(seconds * 1e3)


def cache_lines(rows: list[dict[str, Any]]) -> list[str]:
    """Return a line for each cache and tier."""
    head = f"{'CACHE':<25}{'tier':<6}{'hits/s':>8}{'misses/s':>9}{'ratio':>7}"
    lines = []
    for row in rows:
        ratio = "-" if row["ratio"] is None else f"{row['ratio']:.0%}"
        lines.append(
            f"{row['cache'][:24]:<25}{row['tier']:<6}{row['hits']:>8.1f}{row['misses']:>9.1f}{ratio:>7}"
        )
    return [head, *lines, ""]


def pool_lines(rows: list[dict[str, Any]]) -> list[str]:
    """Return a line for each pool."""
    lines = [
        f"{row['pool'][:24]:<25}{row['rate']:>8.1f}{milliseconds(row['mean_seconds']):>9}"
        f"{milliseconds(row['wait_seconds']):>9}  {'BREAKER OPEN' if row['open'] else ''}"
        for row in rows
    ]
    return [f"{'POOL':<25}{'calls/s':>8}{'mean ms':>9}{'wait ms':>9}", *lines, ""]


def event_line(event: dict[str, Any]) -> str:
    """Return an event in a line."""
    at = time.strftime("%H:%M:%S", time.localtime(event["at"]))
    who = "   " if event["worker"] is None else f"w{event['worker']:<2}"
    return f"{at} {event['level']:<8} {who} {event['event']} {event['detail']}"
