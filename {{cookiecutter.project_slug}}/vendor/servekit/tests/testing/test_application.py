import contextlib

import pytest
from fastapi import FastAPI, Request
from pydantic import BaseModel, Field
from pydantic_settings import SettingsConfigDict

from servekit import Service, Settings
from servekit.sessions import SessionDep, UserSessionDep
from servekit.testing.lifespan import Lifespan


class Place(BaseModel):
    port: str = ""


class OwnSettings(Settings):
    model_config = SettingsConfigDict(env_nested_delimiter="__")

    greeting: str = "hello"
    partner_key: str = Field(default="", validation_alias="SHOP_PARTNER_KEY")
    place: Place = Place()


@pytest.fixture
def settings(make_settings, request):
    return make_settings(OwnSettings, greeting="moin", **getattr(request, "param", {}))


@pytest.fixture
def app(settings):
    @contextlib.asynccontextmanager
    async def lifespan(app):
        app.state.seen = ["opened"]
        yield {"greeting": settings.greeting}
        app.state.seen.append("closed")

    app = FastAPI(lifespan=lifespan)
    Service(settings).install(app)

    @app.get("/")
    async def greet(request: Request) -> str:
        return str(request.state.greeting)

    @app.get("/broken")
    async def fail() -> None:
        raise RuntimeError("broken")

    @app.get("/me")
    async def me(session: UserSessionDep) -> list[str | None]:
        return [session.user, session.get("name")]

    @app.post("/login/{user}")
    async def login(user: str, session: SessionDep) -> None:
        await session.login(user, name="own")

    return app


async def test_a_client_asks_the_application_under_its_layers(client):
    answer = await client.get("/")
    assert (answer.status_code, answer.json()) == (200, "moin")
    assert "x-request-id" in answer.headers


async def test_an_error_is_an_answer_as_over_the_network(client):
    assert (await client.get("/broken")).status_code == 500


async def test_the_lifespan_runs_around_the_test(app, settings):
    async with Lifespan(app):
        assert app.state.seen == ["opened"]
        assert app.state.servekit.draining.ready
    assert app.state.seen == ["opened", "closed"]


async def test_what_the_start_raises_is_raised_in_the_test():
    class Refused(contextlib.AbstractAsyncContextManager[None]):
        async def __aenter__(self):
            raise OSError("refused")

        async def __aexit__(self, *_):
            raise AssertionError("it was never open")

    with pytest.raises(OSError, match="refused"):
        async with Lifespan(FastAPI(lifespan=lambda app: Refused())):
            pass


async def test_the_parts_of_the_service_are_open(service):
    await service.cache.set("a", 1, ttl_seconds=60)
    assert await service.cache.get("a", int) == 1
    assert await service.threads.run(lambda: 2) == 2


async def test_nothing_of_the_environment_gets_into_the_settings(
    make_settings, monkeypatch, tmp_path
):
    for name in ("GREETING", "SHOP_PARTNER_KEY", "PLACE__PORT"):
        monkeypatch.setenv(name, "of the shell")
    (tmp_path / ".env").write_text("PORT=1234\n")
    monkeypatch.chdir(tmp_path)
    settings = make_settings(OwnSettings)
    assert (settings.greeting, settings.port, settings.environment) == ("hello", 8000, "test")
    assert (settings.partner_key, settings.place.port) == ("", "")


async def test_clients_are_logged_in_without_a_password_each_by_itself(new_client, log_in):
    ada, bob, nobody = new_client(), new_client(), new_client()
    await log_in(ada, "1", name="ada")
    await log_in(bob, "2")
    assert (await ada.get("/me")).json() == ["1", "ada"]
    assert (await bob.get("/me")).json() == ["2", None]
    assert (await nobody.get("/me")).status_code == 401


async def test_a_login_of_the_applications_own_replaces_the_given_one(client, log_in):
    await log_in(client, "1")
    assert (await client.post("/login/2")).status_code == 200
    assert (await client.get("/me")).json() == ["2", "own"]
    await log_in(client, "3")
    assert (await client.get("/me")).json() == ["3", None]


@pytest.mark.parametrize(
    "settings",
    [
        {"allowed_hosts": ["*"]},
        {"allowed_hosts": ["*.example.com"]},
        {
            "allowed_hosts": ["a.example.com"],
            "environment": "production",
            "secret_key": "0123456789abcdef" * 2,
        },
    ],
    indirect=True,
)
async def test_clients_use_an_address_that_the_settings_allow(client, log_in):
    await log_in(client, "1")
    assert (await client.get("/me")).json() == ["1", None]
