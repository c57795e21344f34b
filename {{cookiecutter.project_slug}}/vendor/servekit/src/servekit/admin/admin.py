"""The admin port: metrics, health, workers, reload and what a single worker can tell."""

from __future__ import annotations

import hmac
import re
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from servekit.admin.client import WORKERS_LIMIT
from servekit.supervisor.worker_process import CommandError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

    from servekit.supervisor.view import SupervisorView

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
LOOPBACK_HOST = re.compile(rb"(localhost|127\.0\.0\.1|\[::1\])(:[0-9]+)?")
OWN_SITE = frozenset({b"same-origin", b"none"})
OPEN_PATHS = frozenset({"/livez", "/readyz"})


def create_admin(
    view: SupervisorView,
    *,
    token: str = "",
    routes: Sequence[Route] = (),
    shell: Collection[str] = (),
) -> Starlette:
    """Return the application of the admin port; with a token, all but the probes demand it.

    `shell` are the paths, among those of further `routes`, of what a browser has to load before
    there is a token: it holds nothing of this service.
    """
    admin = Admin(view)
    own = [
        Route("/metrics", admin.metrics),
        Route("/livez", admin.livez),
        Route("/readyz", admin.readyz),
        Route("/workers", admin.workers),
        Route("/workers", admin.scale, methods=["POST"]),
        Route("/reload", admin.reload, methods=["POST"]),
        Route("/reload", admin.reload_state),
        Route("/stop", admin.stop, methods=["POST"]),
        Route("/debug/{command}", admin.debug),
    ]
    guard = Middleware(AdminGuard, token=token, shell=frozenset(shell))
    return Starlette(
        routes=[*own, *routes], middleware=[guard], exception_handlers={HTTPException: not_found}
    )


class Admin:
    """The endpoints, each one question to the supervisor."""

    def __init__(self, view: SupervisorView) -> None:
        self.view = view

    async def metrics(self, _: Request) -> Response:
        return Response(await self.view.scrape(), media_type=METRICS_TYPE)

    async def livez(self, _: Request) -> Response:
        return PlainTextResponse("ok")

    async def readyz(self, _: Request) -> Response:
        ready = self.view.ready
        return PlainTextResponse("ok") if ready else PlainTextResponse("not ready", 503)

    async def workers(self, _: Request) -> Response:
        return JSONResponse({"workers": self.view.workers()})

    async def scale(self, request: Request) -> Response:
        count = await read_count(request)
        if count is None:
            return refuse(400, f'send {{"count": 1 to {WORKERS_LIMIT}}}')
        self.view.scale(count)
        return JSONResponse({"count": count}, 202)

    async def reload(self, _: Request) -> Response:
        return JSONResponse(self.view.reload(), 202)

    async def reload_state(self, _: Request) -> Response:
        return JSONResponse(self.view.reload_state())

    async def stop(self, _: Request) -> Response:
        self.view.stop()
        return JSONResponse({"stop": "begun"}, 202)

    async def debug(self, request: Request) -> Response:
        arguments = dict(request.query_params)
        slot = arguments.pop("worker", "0")
        if not slot.isdecimal():
            return refuse(400, "worker is a slot number")
        try:
            body = await self.view.call(int(slot), request.path_params["command"], arguments)
        except CommandError as error:
            return refuse(502, str(error))
        return Response(body, media_type=media_type(body))


class AdminGuard:
    """Refuses requests without the token, and those that a web page sent through a browser."""

    def __init__(
        self, app: ASGIApp, *, token: str = "", shell: frozenset[str] = frozenset()
    ) -> None:
        self.app = app
        self.shell = shell
        self.expected = f"Bearer {token}".encode() if token else b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            return await self.app(scope, receive, send)
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"")
        if not self.expected and not LOOPBACK_HOST.fullmatch(host):
            # Without a token the address is the guard, and a page can rebind its own name to it.
            response = refuse(403, "ask by a loopback address, or set ADMIN_TOKEN")
        elif self._wants_token(scope) and not hmac.compare_digest(
            headers.get(b"authorization", b""), self.expected
        ):
            response = refuse(401, "send the service's ADMIN_TOKEN: Authorization: Bearer ...")
            response.headers["www-authenticate"] = "Bearer"
        elif headers.get(b"origin", b"http://" + host) != b"http://" + host or (
            # An image or a script of another page sends no Origin.
            headers.get(b"sec-fetch-site", b"none") not in OWN_SITE
            and scope["path"] not in self.shell
        ):
            response = refuse(403, "requests from pages of other sites are refused")
        else:
            return await self.app(scope, receive, send)
        return await response(scope, receive, send)

    def _wants_token(self, scope: Scope) -> bool:
        return bool(self.expected) and scope["path"] not in self.shell


async def read_count(request: Request) -> int | None:
    """Return the wanted number of workers, or None if the request holds none."""
    try:
        count = (await request.json())["count"]
    except (ValueError, KeyError, TypeError):
        return None
    return count if type(count) is int and 1 <= count <= WORKERS_LIMIT else None


async def not_found(_: Request, error: Exception) -> Response:
    """Say which path or method there is not, as a problem document."""
    assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for these
    response = refuse(error.status_code, error.detail)
    response.headers.update(error.headers or {})
    return response


def refuse(status: int, detail: str) -> Response:
    """Return a problem document."""
    body = {"type": "about:blank", "status": status, "detail": detail}
    return JSONResponse(body, status, media_type="application/problem+json")


def media_type(body: bytes) -> str:
    """Return the type of what a worker answered: HTML, JSON or text."""
    start = body[:15].lstrip().lower()
    if start.startswith((b"<!doctype", b"<html")):
        return "text/html; charset=utf-8"
    return "application/json" if start[:1] in (b"{", b"[") else "text/plain; charset=utf-8"
