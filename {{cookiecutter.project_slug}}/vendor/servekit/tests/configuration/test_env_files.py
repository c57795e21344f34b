"""What stands in `.env` is read, or refused by its line; nothing of it is repeated or dropped."""

import atexit
import contextlib
import os
import socket

import pytest
from pydantic_settings import SettingsConfigDict

from servekit import BaseUrl, Settings, SettingsError
from servekit.configuration.environment import load_settings
from servekit.configuration.safety import remarks
from servekit.configuration.spelling import spelled
from servekit.configuration.variables import unknown_variables
from servekit.start import launch, other_server
from servekit.start.libraries import tell_libraries
from servekit.testing.running_service import reserved_port

KEY = "h0b7" * 8


class OwnSettings(Settings):
    rates_url: BaseUrl = ""


@pytest.fixture
def dotenv(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in OwnSettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    return tmp_path / ".env"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("PORT\n", "line 1 has no `=`"),
        ("PORT:8123\n", "line 1 has no `=`"),
        (f"PORT=8000\nSECRET_KEY=\n{KEY}\n", "line 3 has no `=`"),
        (f"SECRET_KEY=\\\n{KEY}\n", "line 2 has no `=`"),
        ("REDIS_URL=redis://:${NOBODYS}@h\n", "line 1 looks up ${NOBODYS}, which is not set"),
        (f"SECRET_KEY='{KEY}${{x}}'\n", "line 1 looks up ${x}, which is not set"),
        (f"SECRET_KEY=${{NOBODYS-{KEY}}}\n", "which is not set"),
    ],
)
def test_a_line_that_would_be_dropped_or_lose_a_part_is_refused_by_its_number(
    dotenv, text, problem
):
    dotenv.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load_settings(OwnSettings)
    assert problem in str(caught.value)
    if "-" not in text:  # what is looked up is a name
        assert KEY not in str(caught.value)


def test_what_is_looked_up_may_stand_above_in_the_environment_or_have_a_default(
    dotenv, monkeypatch
):
    monkeypatch.setenv("OUTSIDE", "b")
    dotenv.write_text(f"ABOVE=a\nSECRET_KEY={KEY}${{ABOVE}}${{OUTSIDE}}${{NOBODYS:-c}}\n")
    assert load_settings(OwnSettings).secret_keys == [f"{KEY}abc"]


@pytest.mark.parametrize("rest", ["MIIEvQIBADANBgkqhkiG9w0=", "ORSXG5BAORSXG5BAORSXG5BA===="])
def test_a_line_of_a_key_in_base64_is_no_name_that_is_shown(dotenv, rest):
    dotenv.write_text(f"PORT=8000\n{rest}\n")
    lines = [*unknown_variables(OwnSettings, {}, dotenv), *remarks(load_settings(OwnSettings))]
    assert any("may be part of a secret" in line for line in lines)
    assert rest.strip("=") not in "".join(lines)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="has no named pipes")
@pytest.mark.parametrize("name", [".env", "key"])
def test_a_pipe_is_refused_and_not_waited_for(dotenv, monkeypatch, name):
    os.mkfifo(dotenv.parent / name)
    if name == "key":
        monkeypatch.setenv("SECRET_KEY_FILE", "key")
    with pytest.raises(SettingsError, match="a pipe, which can be read once"):
        load_settings(OwnSettings)


@pytest.mark.parametrize("text", [f"{KEY}\n{KEY[::-1]}", f'["{KEY}", "{KEY[::-1]}"]'])
def test_keys_may_stand_in_lines_or_in_json(dotenv, monkeypatch, text):
    (dotenv.parent / "keys").write_text(text)
    monkeypatch.setenv("SECRET_KEY_FILE", "keys")
    assert load_settings(OwnSettings).secret_keys == [KEY, KEY[::-1]]


@pytest.mark.parametrize(
    "url",
    [
        f"https://h:bad/?token={KEY}",
        f"ftp://h/?api_key={KEY}",
        f"https://h/v1?key={KEY}$",
        f"https://h/v1 ?key={KEY}",
        f"h/v1?key={KEY}",
        f"https://h/v1?key={KEY}",
        f"https://h/v1#{KEY}",
    ],
)
def test_what_follows_the_path_of_an_address_is_not_repeated(dotenv, monkeypatch, url):
    monkeypatch.setenv("RATES_URL", url)
    with pytest.raises(SettingsError) as caught:
        load_settings(OwnSettings)
    assert KEY not in str(caught.value)


def test_a_login_without_a_password_is_not_shown_either(dotenv, monkeypatch):
    monkeypatch.setenv("RATES_URL", f"https://{KEY}@h/v1")
    assert KEY not in "".join(spelled(load_settings(OwnSettings)))


def test_what_the_driver_reads_by_itself_reaches_it_from_the_file(dotenv, monkeypatch):
    monkeypatch.delenv("PGPASSWORD", raising=False)
    dotenv.write_text("PGPASSWORD=hunter2\n")
    monkeypatch.setattr(os, "environ", dict(os.environ))
    tell_libraries(load_settings(OwnSettings))
    assert os.environ["PGPASSWORD"] == "hunter2"


@pytest.mark.parametrize("module", [launch, other_server])
def test_the_embedded_redis_is_found_by_a_class_with_names_of_its_own(dotenv, monkeypatch, module):
    class Prefixed(Settings):
        model_config = SettingsConfigDict(env_prefix="SHOP_")

    class Server:
        url = "unix:///redis.sock"

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(module, "EmbeddedServer", Server)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    with contextlib.ExitStack() as stack:
        if module is launch:
            launch.start_redis(load_settings(Prefixed), stack)
        else:
            monkeypatch.setattr(atexit, "register", stack.callback)
            other_server.with_redis(load_settings(Prefixed))
        assert load_settings(Prefixed).redis_url.get_secret_value() == Server.url


def test_every_address_of_both_families_is_listened_on_side_by_side(dotenv):
    with reserved_port() as port:
        listeners = launch.bind_public(Settings(host="0.0.0.0,::", port=port))
    try:
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, port)).close()
    finally:
        for each in listeners:
            each.close()


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"HOST": "unix:a.sock", "PORT": "9100"}, ""),
        ({"ADMIN_HOST": "unix:b.sock", "ADMIN_PORT": "8000"}, ""),
        ({"ADMIN_PORT": "8000"}, "ADMIN_PORT: must differ from PORT"),
        ({"HOST": "unix:a.sock", "ADMIN_HOST": "unix:a.sock"}, "ADMIN_HOST: must differ from HOST"),
    ],
)
def test_both_ports_differ_where_both_are_ports(dotenv, monkeypatch, given, problem):
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    if problem:
        with pytest.raises(SettingsError, match=problem):
            load_settings(Settings)
    else:
        load_settings(Settings)


PRODUCTION = {
    "ENVIRONMENT": "production",
    "REDIS_URL": "redis://redis:6379/0",
    "REDIS_NAMESPACE": "shop",
    "SECRET_KEY": "0123456789abcdef" * 2,
}


def test_an_admin_port_that_others_reach_in_production_has_no_short_token(dotenv, monkeypatch):
    for name, value in (PRODUCTION | {"ADMIN_HOST": "0.0.0.0", "ADMIN_TOKEN": "x" * 15}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match="ADMIN_TOKEN: must have at least 16 characters"):
        load_settings(Settings)
    monkeypatch.setenv("ADMIN_TOKEN", "x" * 16)
    load_settings(Settings)


def test_hosts_that_nobody_named_are_remarked_in_production(dotenv, monkeypatch):
    for name, value in PRODUCTION.items():
        monkeypatch.setenv(name, value)
    assert any("ALLOWED_HOSTS: is not set" in line for line in remarks(load_settings(Settings)))
    monkeypatch.setenv("ALLOWED_HOSTS", "localhost")
    assert not [*remarks(load_settings(Settings))]


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"CRITICAL_PATHS": "/a,/b", "SHEDDABLE_PATHS": "b"}, "holds /b, and so does CRITICAL"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318/v1/traces/"}, "ends in /v1/traces"),
        ({"PROFILE_FOLDER": __file__}, "PROFILE_FOLDER: is no folder"),
        ({"TIMEOUT_REQUEST_SECONDS": "30s"}, "is no number: write its digits alone, in seconds"),
        ({"LIMIT_BODY_BYTES": "10MB"}, "is no integer: write its digits alone, in bytes"),
        ({"WORKERS": "auto"}, "is no integer: write its digits alone "),
        ({"DEBUG": "enabled"}, "is neither true nor false"),
    ],
)
def test_what_cannot_be_done_is_refused_with_what_to_write(dotenv, monkeypatch, given, problem):
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load_settings(Settings)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("text", "remark"),
    [
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://c:4318/v1/traces", "does nothing without"),
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4317\nOTEL_EXPORTER_OTLP_PROTOCOL=grpc",
            "by http/protobuf alone",
        ),
    ],
)
def test_tracing_that_cannot_be_done_is_said(dotenv, text, remark):
    dotenv.write_text(text)
    [line] = remarks(load_settings(Settings))
    assert remark in line
