"""An application's lifespan, run as a server runs it."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Lifespan:
    """Runs an application's lifespan while it is entered; call the result as the application.

    What the application raises when it starts or stops is raised here. Requests see the state that
    the lifespan yielded.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._state: dict[str, Any] = {}
        self._events: asyncio.Queue[Message] = asyncio.Queue()
        self._answers: asyncio.Queue[Message] = asyncio.Queue()

    async def __aenter__(self) -> ASGIApp:
        scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": self._state}
        self._task = asyncio.ensure_future(self._app(scope, self._events.get, self._answers.put))
        await self._pass("startup")
        return self._serve

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._pass("shutdown")
        await self._task

    async def _pass(self, phase: str) -> None:
        self._events.put_nowait({"type": f"lifespan.{phase}"})
        answer = asyncio.create_task(self._answers.get())
        await asyncio.wait([answer, self._task], return_when=asyncio.FIRST_COMPLETED)
        if answer.done() and answer.result()["type"] == f"lifespan.{phase}.complete":
            return
        answer.cancel()
        await self._task
        raise RuntimeError(f"The application's {phase} failed.")

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app({**scope, "state": dict(self._state)}, receive, send)
