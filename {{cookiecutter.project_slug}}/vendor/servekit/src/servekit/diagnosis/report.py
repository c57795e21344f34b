"""What a doctor's document says: as text for a terminal, and as a page."""

from __future__ import annotations

import html
import textwrap
from collections import Counter
from typing import TYPE_CHECKING, Any

from servekit.diagnosis.comparison import rate
from servekit.diagnosis.flame_graph import flame_graph
from servekit.diagnosis.load import WARM_UP_SECONDS
from servekit.diagnosis.plots import plots
from servekit.diagnosis.profile import VIEWS
from servekit.diagnosis.readings import REQUEST, Window
from servekit.diagnosis.source import places_in
from servekit.diagnosis.stacks import Profile

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

TOLD_MAX = 3
WIDTH = 100
COUNTED_PART = 0.9
SCORE = "score: how far past the limit of its cause, from 1 to 100 (no doubt)"
COLUMNS = ("worker", "at", "busy", "stalled", "lag ms", "requests", "slow", "failed", "shed")


def summary(seen: Mapping[str, Any]) -> str:
    """Return verdicts and what cannot be judged, for people at a terminal."""
    lines: list[str] = []
    for number, verdict in enumerate(seen["verdicts"], 1):
        lines.append(f"{number}. {verdict['sentence']} (score {verdict['score']})")
        lines += [f"   {line}" for line in details(verdict)]
        lines += ["   fix:", *(f"     {line}" for line in verdict["fix"].splitlines())]
        lines += [f"   next: {verdict['next']}"]
        for other in verdict["ruled_out"]:
            line = f"   ruled out: {other}"
            lines += [line] if line not in lines else []  # once for all of them
    for remark in remarks(seen):
        lines += textwrap.wrap(remark, WIDTH, subsequent_indent="  ", break_on_hyphens=False)
    return "\n".join(lines)


def details(verdict: Mapping[str, Any]) -> Iterator[str]:
    """Yield where it is."""
    for place in verdict["places"]:
        yield f"at {place}"
        for at in places_in(place):
            if at in verdict["source"]:
                yield f"   {at.rpartition(':')[2]} | {verdict['source'][at]}"
    if verdict["route"]:
        yield f"route {verdict['route']}"


def remarks(seen: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is to be said besides the verdicts."""
    for reason in seen["cannot_judge"]:
        yield f"cannot judge: {reason}"
    if not seen["verdicts"] and not seen["cannot_judge"]:
        yield "healthy: nothing that clients would feel; what grows slowly is not judged, see below"
    if seen["verdicts"]:
        yield SCORE
    wanted = seen["sampled"].get("wanted")
    if seen["windows"]:
        windows = [Window(**window) for window in seen["windows"]]
        ended_at = max(window.at for window in windows)  # of one that Ctrl-C ended
        yield traffic(windows, wanted["seconds"] if seen["complete"] else ended_at)
    if seen["sampled"].get("load"):
        ended = (f"{count} x {status}" for status, count in seen["sampled"]["load"].items())
        targets = list(dict.fromkeys(target for _, target in wanted["requests"]))
        more = f" and {len(targets) - TOLD_MAX} more" if len(targets) > TOLD_MAX else ""
        sent = f"{wanted['base']} {', '.join(targets[:TOLD_MAX])}{more}"
        seconds = f"{wanted['seconds'] + WARM_UP_SECONDS:g} s long" if seen["complete"] else "cut"
        if seen["sampled"].get("memory_holders") is not None:
            seconds += ", and again while objects were counted"
        yield f"own load of {sent}, {seconds}, ended with: {', '.join(ended)}"
    yield from seen["sampled"]["failures"]
    yield f"not judged: {seen['not_judged']}"


def traffic(windows: list[Window], seconds: float) -> str:
    """Return what clients got of all workers in so many seconds, whatever ails them."""
    requests = sum(window.requests for window in windows)
    told = [f"traffic: {requests:.0f} requests, {rate(windows):.0f} a second"]
    if requests:
        bounds = ", ".join(f"{part:.0%} {within(windows, part)}" for part in (0.5, 0.99))
        told += [
            f"{bounds} (bounds of the histogram)",
            f"{sum(window.failed for window in windows) / requests:.1%} failed",
        ]
    if shed := sum(window.shed for window in windows):
        told.append(f"{shed:.0f} more were refused by the overload check (503)")
    workers = len({window.worker for window in windows})
    counted = sum(window.seconds for window in windows) / (workers or 1)
    if counted < COUNTED_PART * seconds:
        told.append(
            f"as counted in {counted:.0f} of {seconds:g} s: a worker that stands still, or was "
            "replaced, told no more"
        )
    return ", ".join(told)


def within(windows: list[Window], part: float) -> str:
    """Return the bound of the histogram in which this part of the requests was answered."""
    counts: Counter[str] = Counter()
    for window in windows:
        counts.update(window.deltas.get(f"{REQUEST}_bucket", {}))
    needed = part * max(counts.values(), default=0)
    bounds = sorted(counts, key=float)
    bound = next((bound for bound in bounds if counts[bound] >= needed), "+Inf")
    if bound == "+Inf":
        return f"above {bounds[-2]} s" if len(bounds) > 1 else "unknown"
    return f"in at most {float(bound):g} s"


def page(seen: Mapping[str, Any], profiles: Mapping[str, Profile]) -> str:
    """Return the report as a page that needs no other file, flame graphs of all workers below."""
    merged, waits = Profile(), Profile()
    for profile in profiles.values():
        merged.stacks.update(profile.stacks)
        waits.stacks.update(profile.waits)
    windows = [Window(**window) for window in seen["windows"]]
    parts = [f"<h2>{n}. {heading(v)}" for n, v in enumerate(seen["verdicts"], 1)]
    parts += [f"<p>{html.escape(line)}" for line in remarks(seen)]
    parts.append(plots(windows))
    parts.append(f"<details><summary>Second by second</summary>{table(windows)}</details>")
    count = len(seen["verdicts"])
    title = f"Doctor: {count} cause{'s' * (count != 1)} found"
    told = f"Workers {', '.join(sorted(profiles))}; {seen['sampled']['wanted']['seconds']:g} s."
    pictures = [(merged, VIEWS["wall"]), *([(waits, VIEWS["waits"])] if waits.samples else [])]
    return flame_graph(*pictures, told=told, title=title, findings="\n".join(parts))


def heading(verdict: Mapping[str, Any]) -> str:
    """Return a verdict as HTML, from the text of its heading on."""
    lines = "".join(
        f"<pre>{html.escape(line.strip())}</pre>" if line[0] == " " else f"<li>{html.escape(line)}"
        for line in details(verdict)
    )
    others = "".join(f"<li>{html.escape(other)}" for other in verdict["ruled_out"])
    return (
        f"{html.escape(verdict['sentence'])}</h2><p>Score {verdict['score']} of 100<ul>{lines}</ul>"
        f"<pre>{html.escape(verdict['fix'])}</pre><p>Next: {html.escape(verdict['next'])}"
        + (f"<p>Ruled out:<ul>{others}</ul>" if others else "")
    )


def table(windows: list[Window]) -> str:
    """Return the figures of every window as a table."""
    rows = (
        f"<tr><td>{html.escape(w.worker)}<td>{w.at:.1f}<td>{w.busy / w.seconds:.0%}"
        f"<td>{w.stalled / w.seconds:.0%}<td>{w.lag * 1000:.1f}<td>{w.requests:.0f}"
        f"<td>{w.slow:.0f}<td>{w.failed:.0f}<td>{w.shed:.0f}"
        for w in windows
    )
    head = "".join(f"<th>{name}" for name in COLUMNS)
    return f"<table><thead><tr>{head}</thead><tbody>{''.join(rows)}</tbody></table>"
