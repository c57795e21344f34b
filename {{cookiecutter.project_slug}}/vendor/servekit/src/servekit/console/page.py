"""The console's part of the admin port: a page that holds no data, its stream, and its buttons."""

from __future__ import annotations

import asyncio
from importlib import resources
from typing import TYPE_CHECKING

from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from servekit.admin.admin import refuse
from servekit.event_log import LEVELS, get_logger
from servekit.logs import set_level
from servekit.supervisor.worker_process import CommandError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from servekit.console.feed import Feed
    from servekit.supervisor.view import SupervisorView

FILES = {
    "console.html": "text/html; charset=utf-8",
    "console.css": "text/css; charset=utf-8",
    "console.js": "text/javascript; charset=utf-8",
    "actions.js": "text/javascript; charset=utf-8",
    "draw.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
POLICY = (
    "default-src 'none'; script-src 'self'{script}; style-src 'self'{style}; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
SAFE = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}
SETTABLE = [level for level in LEVELS if level != "critical"]
SECONDS_MAX = 60.0
HERTZ = 100

log = get_logger()


class Console:
    """The routes of the page; `shell` are the paths of what anybody may load: it is in the source.

    `draw` makes a page of collapsed stacks and a sentence; a tab that is opened with it has the
    policy of this page, so `inline` names the hashes of its script and its style.
    """

    def __init__(
        self,
        view: SupervisorView,
        feed: Feed,
        *,
        draw: Callable[[list[str], str], str],
        inline: tuple[str, str],
        asks_token: bool,
    ) -> None:
        self._view = view
        self._feed = feed
        self._draw = draw
        script, style = (f" {digest}" for digest in inline)
        headers = {**SAFE, "content-security-policy": POLICY.format(script=script, style=style)}
        self.routes = [
            Route("/console/stream", self.stream),
            Route("/console/profile", self.profile),
            Route("/console/log-level", self.set_log_level, methods=["POST"]),
        ]
        for name, kind in FILES.items():
            path = "/" if name == "console.html" else f"/console/{name}"
            body = (resources.files("servekit.console") / "shell" / name).read_bytes()
            if asks_token:  # else the page would find out by a refusal, which browsers log
                body = body.replace(b'asks-token="no"', b'asks-token="yes"')
            self.routes.append(Route(path, served(body, {**headers, "content-type": kind})))
        self.shell = frozenset(route.path for route in self.routes[3:])

    async def stream(self, _: Request) -> Response:
        if self._feed.full:
            return refuse(503, "too many look already: close a console")
        headers = {"cache-control": "no-store"}
        lines = self._feed.lines()
        return StreamingResponse(lines, media_type="application/x-ndjson", headers=headers)

    async def set_log_level(self, request: Request) -> Response:
        try:
            level = (await request.json())["level"]
        except (ValueError, KeyError, TypeError):
            level = None
        if level not in SETTABLE:
            return refuse(400, f'send {{"level": one of {", ".join(SETTABLE)}}}')
        log.warning("log_level_changed", to=level)
        set_level(level)
        self._view.set_log_level(level)
        return JSONResponse({"level": level})

    async def profile(self, request: Request) -> Response:
        """Sample one worker or all at once, and answer with the page of the flame graph."""
        slots = list(self._view.serving)
        if (worker := request.query_params.get("worker", "all")) != "all":
            slots = [slot for slot in slots if str(slot) == worker]
        try:
            seconds = float(request.query_params.get("seconds", "10"))
        except ValueError:
            seconds = 0
        if not 0 < seconds <= SECONDS_MAX:
            return refuse(400, f"seconds is above 0 and at most {SECONDS_MAX:g}")
        options = {"seconds": seconds, "hertz": HERTZ, "format": "collapsed"}
        calls = (self._view.call(slot, "profile", options) for slot in slots)
        answers = await asyncio.gather(*calls, return_exceptions=True)
        found = dict(zip(slots, answers, strict=True))
        stacks = {slot: each.decode() for slot, each in found.items() if isinstance(each, bytes)}
        errors = [
            f"worker {slot}: {each}"
            for slot, each in found.items()
            if isinstance(each, CommandError)
        ]
        if not stacks:
            return refuse(502, "; ".join(errors) or f"there is no worker {worker} that serves")
        who = ", ".join(map(str, stacks))
        told = f"Workers: {who}; {seconds:g} s, {HERTZ} samples a second."
        told += "".join(f" Not in it: {error}." for error in errors)
        return HTMLResponse(await asyncio.to_thread(self._draw, list(stacks.values()), told))


def served(body: bytes, headers: dict[str, str]) -> Callable[[Request], Awaitable[Response]]:
    """Return the endpoint of a file."""

    async def serve(_: Request) -> Response:
        return Response(body, headers=headers)

    return serve
