"""An application with sessions, and browsers that use it."""

import asyncio
from contextlib import asynccontextmanager

import httpx2
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from servekit.errors import StoreUnavailable
from servekit.problems import problem_response
from servekit.sessions.layer import SessionDep, SessionMiddleware, UserDep
from servekit.sessions.store import SessionStore

OLD, NEW = "old-key-0123456789", "new-key-0123456789"


def make_app():
    app = FastAPI()

    @app.exception_handler(StoreUnavailable)
    async def unavailable(request, error):
        return problem_response(request.scope, 503)

    @app.get("/untouched")
    async def untouched() -> str:
        return "hello"

    @app.get("/me")
    async def me(user: UserDep) -> str:
        return user

    @app.get("/field/{name}")
    async def read(name: str, session: SessionDep) -> object:
        return session.get(name)

    @app.put("/field/{name}")
    async def write(name: str, session: SessionDep, value: int = 1) -> None:
        session[name] = value

    @app.delete("/field/{name}")
    async def remove(name: str, session: SessionDep) -> None:
        del session[name]

    @app.put("/slow")
    async def slow(session: SessionDep) -> None:
        app.state.started.set()
        await app.state.proceed.wait()
        session["slow"] = True

    return app


def add_account_routes(app: FastAPI):
    @app.post("/login/{user}")
    async def login(user: str, session: SessionDep) -> None:
        await session.login(user, role="user")

    @app.post("/elevate")
    async def elevate(session: SessionDep) -> None:
        await session.rotate(role="admin")

    @app.post("/logout")
    async def logout(session: SessionDep) -> None:
        await session.logout()

    @app.post("/logout-elsewhere")
    async def logout_elsewhere(session: SessionDep) -> int:
        return await session.logout_everywhere(keep_current=True)

    @app.post("/logout-everywhere")
    async def everywhere(session: SessionDep) -> int:
        return await session.logout_everywhere()

    @app.get("/list")
    async def listed(session: SessionDep, user: UserDep) -> list[dict[str, object]]:
        return [
            {"ref": info.ref, "device": info.device, "current": info.ref == session.ref}
            for info in await session.list()
        ]

    @app.delete("/list/{ref}")
    async def revoke(ref: str, session: SessionDep) -> bool:
        return await session.revoke(ref)


class Service:
    """An application over its own store; `browser()` keeps cookies as a browser does."""

    def __init__(self, clients, *, keys=(NEW,), secure=True, clear_site_data=(), **options):
        self.registry = CollectorRegistry()
        self.clients = clients
        self.app = make_app()
        add_account_routes(self.app)
        self.app.state.started, self.app.state.proceed = asyncio.Event(), asyncio.Event()
        self.store = SessionStore(clients, secret_keys=keys, registry=self.registry, **options)
        self.asgi = SessionMiddleware(
            self.app, store=self.store, secure=secure, clear_site_data=clear_site_data
        )

    def browser(self, **headers):
        transport = httpx2.ASGITransport(self.asgi)
        return httpx2.AsyncClient(
            transport=transport, base_url="https://shop.test", headers=headers
        )

    async def with_cookie(self, cookie, path="/me", method="GET"):
        async with self.browser(cookie=f"__Host-session={cookie}") as fresh:
            return await fresh.request(method, path)


def cookie_of(browser):
    return browser.cookies["__Host-session"]


async def keys(service):
    return await service.clients.sessions.dbsize()


@asynccontextmanager
async def logged_in(service, user="ada", **headers):
    async with service.browser(**headers) as browser:
        assert (await browser.post(f"/login/{user}")).status_code == 200
        yield browser
