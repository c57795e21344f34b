"""Whatever text is in whatever variable: the start works, or one line says why, and no secret."""

import os
import uuid
from contextlib import contextmanager, suppress
from datetime import date, timedelta
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Any, Literal
from unittest import mock

import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, example, given, settings as limits, strategies as st
from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    HttpUrl,
    PostgresDsn,
    SecretBytes,
    SecretStr,
    field_validator,
)

from servekit import BaseUrl, DatabaseUrl, Service, Settings, SettingsError
from servekit.configuration.environment import load_settings
from servekit.configuration.safety import remarks
from servekit.configuration.spelling import spelled
from servekit.install import entrance
from servekit.notation.urls import Refused
from servekit.redis.clients import RedisClients
from servekit.redis.url import parse_redis_url
from servekit.sql import Database
from servekit.start.launch import supervisor_config, switches
from tests.configuration.settings_table import TABLE

RUN = 4


class Size(Enum):
    SMALL = "small"
    LARGE = "large"


class Mailer(BaseModel):
    host: str
    password: str
    port: int = 25


def echoing(value: Any) -> Any:
    raise ValueError(f"{value} will not do")


def echo_secret(value: SecretStr) -> SecretStr:
    if len(value.get_secret_value()) > RUN:
        raise ValueError(f"{value.get_secret_value()} will not do")
    return value


class Own(Settings):
    """A service's own settings, of types and checks as people use them."""

    database_url: DatabaseUrl = SecretStr("sqlite:///service.db")
    day: date | None = None
    pause: timedelta = timedelta(seconds=1)
    price: Decimal = Decimal(1)
    mark: uuid.UUID | None = None
    address: IPv4Address | None = None
    size: Size = Size.SMALL
    number: Literal[1, 2] | None = None
    site: HttpUrl | None = None
    warehouse: PostgresDsn | None = None
    folder: Path = Path()
    mailer: Mailer | None = None
    tokens: list[SecretStr] = []
    keys_of: dict[str, SecretStr] = {}
    pepper: SecretBytes = SecretBytes(b"")
    stripe_key: int = 0
    echoed: Annotated[SecretStr, AfterValidator(echo_secret)] = SecretStr("")
    raising: str = "x"
    rates_url: BaseUrl = ""
    callback: str = ""
    renamed: str = Field(default="", validation_alias="OTHER_NAME", max_length=5)

    @field_validator("raising")
    @classmethod
    def _raises(cls, value: str) -> str:
        return {"x": "y"}[value]


NAMES = sorted({name.upper() for name in Own.model_fields} - {"RENAMED"} | {"OTHER_NAME"})
SECRET = ["REDIS_URL", "DATABASE_URL", "SECRET_KEY", "ADMIN_TOKEN", "WAREHOUSE", "MAILER"]
SECRET += ["TOKENS", "KEYS_OF", "PEPPER", "STRIPE_KEY", "ECHOED", "SITE"]
PLACES = ["HOST", "ADMIN_HOST", "ALLOWED_HOSTS", "CORS_ORIGINS", "CRITICAL_PATHS", "RATES_URL"]
PLACES += ["OTEL_EXPORTER_OTLP_ENDPOINT", "CALLBACK"]

characters = st.characters(codec="utf-8", exclude_characters="\0") | st.sampled_from("\udc80\udcff")
anything = st.text(characters, max_size=60)
rows = st.sampled_from([text for _, text, _ in TABLE])
bent = st.builds(
    lambda text, at, more: text[: at % (len(text) + 1)] + more + text[at % (len(text) + 1) :],
    rows,
    st.integers(0, 200),
    st.text(characters, max_size=5),
)
texts = anything | rows | bent

LETTERS = "ZXQJ"
secrets = st.text(
    st.sampled_from(f"{LETTERS}{LETTERS}#/?@:%&=, '\"[]{{}}$\\\n"), min_size=RUN, max_size=40
)
around = st.sampled_from([
    "{}", "redis://:{}@host:6379/0", "redis://u:{}@host?db=x", "{}://host", "rediss://h?ssl_password={}",
    "redis+sentinel://:{}@a/main", "redis://h?sentinel_password={}", "redis://{}", "redis://h?{}=1",
    "postgresql://u:{}@host/db", "postgres://u:{}@host:x/db", "postgresql://u@h/db?password={}",
    "postgresql://u@h/db?{}=1", "postgresql://u@h/db?sslmode=require&sslpassword={}&sslkey=/x",
    "mysql://u:{}@h/db", "https://u:{}@h:port/", '{{"password": "{}"}}', '{{"a": ["{}"]}}',
    "[{}", '["{}"]',
    '{{"host": "h", "password": "{}", "port": "x"}}', "{},", "  {}\n",
])  # fmt: skip


@contextmanager
def only(variables):
    with mock.patch.dict(os.environ, variables):
        for name in NAMES:
            if name not in variables:
                os.environ.pop(name, None)
        yield


@pytest.fixture(autouse=True)
def _empty_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


def lines_of(variables: dict[str, str]) -> list[str]:
    """Return why the service does not start; nothing when everything of it can be made."""
    with only(variables):
        try:
            settings = load_settings(Own)
        except SettingsError as error:
            return error.problems
        if not settings.redis_url.get_secret_value():  # as the launcher does it
            settings = settings.model_copy(update={"redis_url": SecretStr("unix:///embedded")})
        service = Service(settings)
        app = FastAPI(telemetry=service.telemetry)
        service.install(app)
        entrance(app)
        service.add(Database(settings.database_url.get_secret_value()))
        supervisor_config(settings, "", ())
        switches(settings)
        assert list(spelled(settings))
        return [line for line in remarks(settings) if "\n" in line]


def assert_one_line_each(lines: list[str], name: str) -> None:
    assert lines == [] or any(line.startswith(f"{name}: ") for line in lines)
    for line in lines:
        assert line.isprintable()
        assert line.partition(":")[0].isupper()
        assert "Traceback" not in line
        assert "object at 0x" not in line


@limits(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(NAMES), texts)
@example("RAISING", "anything")
@example("MAILER", '{"port": "x"}')
@example("HOST", "a" * 64)
@example("OTHER_NAME", "longer than it may be")
@example("CACHE_LOCAL_MIB", "9" * 25)
def test_any_text_in_any_variable_starts_or_is_refused_in_a_line_that_names_it(name, text):
    lines = lines_of({name: text})
    cause = "ADMIN_TOKEN" if any("ADMIN_TOKEN: must" in line for line in lines) else name
    related = {"ENVIRONMENT", "ADMIN_PORT", "PORT"} | {part for part in NAMES if "_SECONDS" in part}
    if name in related:  # it may be right, and not fit to another
        cause = lines[0].partition(":")[0] if lines else name
    assert_one_line_each(lines, cause)


def assert_nothing_of_it_is_said(name: str, secret: str, frame: str) -> None:
    text = frame.format(secret)
    with only({name: text}):
        lines = lines_of({name: text})
        with suppress(SettingsError):
            lines += spelled(load_settings(Own))
    parts = {secret[at : at + RUN] for at in range(len(secret) - RUN + 1)}
    parts = {part for part in parts if set(part) & set(LETTERS)}
    assert {part for part in parts if any(part in line for line in lines)} == set()


@limits(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(SECRET), secrets, around)
@example("REDIS_URL", "XQJZ#x", "redis://:{}@h")
@example("REDIS_URL", "12?XQJZZ=1", "redis://u:{}@h")
@example("ECHOED", "XQJZZ", "{}")
@example("TOKENS", "[XQJZ", "{}")
@example("STRIPE_KEY", "XQJZ_live", "{}")
def test_no_line_holds_a_part_of_a_secret(name, secret, frame):
    assert_nothing_of_it_is_said(name, secret, frame)


redis_texts = st.sampled_from([text for name, text, _ in TABLE if name == "REDIS_URL"])
options = st.sampled_from([
    "db=1", "protocol=3", "client_name=a", "username=u", "password=p", "ssl_cert_reqs=none",
    "ssl_cert_reqs=CERT_OPTIONAL", "ssl_check_hostname=0", "health_check_interval=5", "family=0",
    "timeout=1", "retry=3", "decode_responses=1", "host=x", "port=1", "path=/x", "ssl=true",
    "connection_class=x", "encoding=x", "max_connections=1", "sentinel_password=p",
    "retry_on_timeout=1", "credential_provider=x", "parser_class=x",
])  # fmt: skip
schemes = st.sampled_from(["redis", "rediss", "valkeys"])
composed = st.builds(
    lambda scheme, kind, login, place, chosen: (
        f"{scheme}{kind}://{login}{place}?{'&'.join(chosen)}"
    ),
    schemes,
    st.sampled_from(["", "+cluster", "+sentinel"]),
    st.sampled_from(["", ":p@", "u:p@", "u@", ":@"]),
    st.sampled_from(["h", "h:1", "h/1", "[::1]:2/0", "a:1/main", "a,b:3/main"]),
    st.lists(options, max_size=3),
) | st.builds("unix://{}/x?{}".format, st.sampled_from(["", ":p@", "u:p@"]), options)


@limits(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(redis_texts | bent | composed)
@example("rediss://h?ssl_cert_reqs=CERT_NONE")
@example("redis+cluster://u:p@h?health_check_interval=5")
async def test_a_connection_for_each_pool_can_be_made_of_every_url_that_is_accepted(url):
    try:
        parse_redis_url(url)
    except Refused:
        return
    clients = RedisClients(url)
    for name in ("cache", "sessions", "rate_limit"):
        made: Any = clients._open(name)
        if clients.is_cluster:
            for node in made.nodes_manager.startup_nodes.values():
                node.acquire_connection()
        else:
            made.connection_pool.make_connection()
            manager = getattr(made.connection_pool, "sentinel_manager", None)
            for sentinel in manager.sentinels if manager else ():
                sentinel.connection_pool.make_connection()


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize("address", ["https://bob:{}@h.example", "https://bob:{}@h:port/x?y"])
def test_no_password_in_an_address_is_repeated_or_shown(name, address):
    with only({name: address.format("hunter2")}):
        try:
            said = "\n".join(spelled(load_settings(Own)))
        except SettingsError as refused:
            said = "\n".join(refused.problems)
    assert name in said
    assert "hunter2" not in said


@limits(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(PLACES),
    secrets,
    st.sampled_from(["https://u:{}@h", "http://{}:x@h.example/v1", "https://u:{}@h:port/x?y"]),
)
@example("RATES_URL", "ZX/QJXZ", "https://u:{}@h")
@example("RATES_URL", "ZXQJ XZQJ", "https://u:{}@h")
@example("CALLBACK", "ZX/QJXZ", "https://u:{}@h")
def test_no_part_of_a_badly_encoded_password_is_repeated_or_shown(name, secret, frame):
    if "URL" not in name and "ENDPOINT" not in name:  # commas and blanks divide lists
        secret = "".join(secret.replace(",", "").split())
    assert_nothing_of_it_is_said(name, secret, frame)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://api.example/v1?key=k", "has a query"),
        ("http://u:pa$s@h", "%24"),
        ("http://${HOST}/", "%24"),
        ("rates:8080", "does not begin with http://"),
        ("http://a,b", "is no address"),
    ],
)
def test_an_address_below_which_nothing_can_be_called_is_refused_with_the_reason(url, said):
    with only({"RATES_URL": url}):
        [line] = lines_of({"RATES_URL": url})
    assert line.startswith("RATES_URL: ")
    assert said in line
    assert "pa$s" not in line
