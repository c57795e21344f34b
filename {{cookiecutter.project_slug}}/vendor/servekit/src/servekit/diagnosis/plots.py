"""What workers went through second by second, as drawings with the limits that the rules have."""

from __future__ import annotations

import html
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from servekit.diagnosis.readings import FAILED_SHARE, STALLED_SHARE, Window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

WIDTH, HEIGHT = 640, 150
LEFT, RIGHT, TOP, BOTTOM = 46, 600, 14, 126
STYLES = 4
"""Kinds of lines: each differs in its dashes too, not by its colour alone."""


@dataclass(frozen=True)
class Plot:
    """One figure of every window: what it is, in which unit, and where it begins to count."""

    title: str
    unit: str
    value: Callable[[Window], float]
    limit: float | None = None


def troubled(window: Window) -> float:
    """Return the percentage of requests that were slow, failed or refused."""
    asked = window.requests + window.shed
    return 100 * (max(window.slow, window.failed) + window.shed) / asked if asked else 0.0


PLOTS = (
    Plot("Event loop stood still", "%", lambda w: 100 * w.stalled / w.seconds, 100 * STALLED_SHARE),
    Plot("Requests slow, failed or refused", "%", troubled, 100 * FAILED_SHARE),
    Plot("Event loop busy", "%", lambda w: 100 * w.busy / w.seconds),
    Plot("Mean lag of the event loop", "ms", lambda w: 1000 * w.lag),
    Plot("Requests", "/s", lambda w: w.requests / w.seconds),
)


def plots(windows: Sequence[Window]) -> str:
    """Return the figures as HTML; a table of the windows says the same to who cannot see them."""
    return "".join(drawing(plot, windows) for plot in PLOTS) if windows else ""


def drawing(plot: Plot, windows: Sequence[Window]) -> str:
    """Return one figure as SVG with a caption."""
    lines: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for window in windows:
        lines[window.worker].append((window.at, plot.value(window)))
    peak = max(value for points in lines.values() for _, value in points)
    top = max(peak, 2 * (plot.limit or 0.0), 1.0) * 1.05
    end = max(at for points in lines.values() for at, _ in points)

    def x(at: float) -> float:
        return LEFT + (RIGHT - LEFT) * at / end

    def y(value: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * value / top

    parts = [axes(end, top, plot.unit)]
    if plot.limit is not None:
        at = y(plot.limit)
        parts.append(f'<path class="limit" d="M{LEFT} {at:.1f}H{RIGHT}"/>')
        parts.append(text(RIGHT + 4, at + 4, f"{plot.limit:g} {plot.unit}"))
    for number, (worker, points) in enumerate(sorted(lines.items())):
        path = "L".join(f"{x(at):.1f} {y(value):.1f}" for at, value in points)
        name = f"<title>worker {html.escape(worker)}</title>"
        parts.append(f'<path class="line{number % STYLES}" d="M{path}">{name}</path>')
    said = f"{plot.title}: at most {peak:.1f} {plot.unit}"
    return (
        f"<figure><figcaption>{plot.title}{legend(lines)}</figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{said}">'
        f"{''.join(parts)}</svg></figure>"
    )


def axes(end: float, top: float, unit: str) -> str:
    """Return the frame with the time and the highest value written on it."""
    return (
        f'<path class="axis" d="M{LEFT} {TOP}V{BOTTOM}H{RIGHT}"/>'
        + text(LEFT - 4, TOP + 8, f"{top:.0f} {unit}", "end")
        + text(LEFT - 4, BOTTOM, "0", "end")
        + text(RIGHT, BOTTOM + 16, f"{end:.0f} s", "end")
    )


def text(x: float, y: float, words: str, anchor: str = "start") -> str:
    """Return words at a place."""
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{words}</text>'


def legend(workers: Iterable[str]) -> str:
    """Return the workers with the kinds of their lines."""
    return "".join(
        f'<span><svg viewBox="0 0 24 8" class="key" aria-hidden="true">'
        f'<path class="line{number % STYLES}" d="M0 4H24"/></svg> {html.escape(worker)}</span>'
        for number, worker in enumerate(sorted(workers))
    )
