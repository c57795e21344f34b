"""A profile as one HTML page that needs no other file and asks no host."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from servekit.diagnosis.stacks import Frame, Node, Profile

SMALLEST_SHARE = 0.0005
"""Narrower functions are left out of the picture: half a pixel of a wide screen."""
ROWS_MAX = 40


@dataclass(frozen=True)
class View:
    """What a picture is called, what a width is, what is counted, and what stands above all."""

    title: str
    legend: str = (
        "Busy: {busy:.1%} of the samples (what takes less than 5 ms is seen less often than it "
        "lasts). A bar is as wide as the share of busy samples in which its "
        "function was on the stack; below it are those that it called."
    )
    unit: str = "samples"
    root: str = "event loop"
    innermost: str = "What ran"


def flame_graph(
    *pictures: tuple[Profile, View], told: str, title: str = "", findings: str = ""
) -> str:
    """Return the page; `told` says what was sampled; `findings` is HTML to show before it.

    Of several pictures each stands under its own title, and the page has another.
    """
    script, style = read("flame_graph.js"), read("flame_graph.css")
    policy = f"default-src 'none'; script-src {digest(script)}; style-src {digest(style)}"
    (_, first), *more = pictures
    parts = {
        "policy": policy,
        "title": html.escape(title or first.title),
        "told": html.escape(told),
        "findings": findings,
        "style": style,
        "script": script,
        "pictures": "\n".join(picture(*each, headed=bool(more)) for each in pictures),
    }
    return filled("flame_graph.html", parts)


def picture(profile: Profile, view: View, *, headed: bool) -> str:
    """Return a flame graph, and tables that hold the same figures."""
    busy = profile.samples - profile.idle
    data = drawn(profile.tree(view.root)) | {"unit": view.unit}
    parts = {
        "heading": f"<h2>{html.escape(view.title)}</h2>" if headed else "",
        "title": html.escape(view.title),
        "legend": html.escape(view.legend.format(busy=busy / max(1, profile.samples))),
        "unit": html.escape(view.unit),
        "inner": html.escape(view.innermost),
        "data": json.dumps(data).replace("<", "\\u003c"),
        "own": rows(profile.own_lines().most_common(ROWS_MAX), busy),
        "innermost": rows(innermost(profile), busy),
    }
    return filled("flame_graph_picture.html", parts)


def filled(name: str, parts: Mapping[str, str]) -> str:
    """Return a file that stands beside this module, with the parts that it names put in."""
    page = read(name)
    for part, text in parts.items():
        page = page.replace(f"<!--{part}-->", text)
    return page


def read(name: str) -> str:
    """Return a file that stands beside this module."""
    return (resources.files("servekit.diagnosis") / name).read_text(encoding="utf-8")


def digest(text: str) -> str:
    """Return what a Content-Security-Policy calls an inline script or style."""
    hashed = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{hashed}'"


def drawn(root: Node) -> dict[str, Any]:
    """Return frames by number, and the tree of `[frame, samples, children]`."""
    numbers: dict[Frame, int] = {}
    smallest = root.count * SMALLEST_SHARE

    def node(each: Node) -> list[Any]:
        number = numbers.setdefault(each.frame, len(numbers))
        inner = sorted(each.children.values(), key=lambda child: -child.count)
        return [number, each.count, [node(child) for child in inner if child.count >= smallest]]

    tree = node(root)
    return {"frames": [[one.name, one.place, one.kind] for one in numbers], "tree": tree}


def innermost(profile: Profile) -> list[tuple[Frame, int]]:
    """Return the functions that ran most often, idle time aside."""
    found = profile.innermost().most_common(ROWS_MAX + 1)
    return [(frame, count) for frame, count in found if frame.kind != "idle"][:ROWS_MAX]


def rows(found: list[tuple[Frame, int]], total: int) -> str:
    """Return rows of a table: share, samples, function, place."""
    return "\n".join(
        f"<tr><td>{count / max(1, total):.1%}<td>{count}<td>{html.escape(frame.name)}"
        f"<td>{html.escape(frame.place)}"
        for frame, count in found
    )
