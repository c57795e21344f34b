"""Where settings come from: `.env`, files of secrets, names that are nearly right."""

import importlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, example, given, settings as limits, strategies as st
from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from servekit import Settings, SettingsError
from servekit.configuration.environment import load_settings
from servekit.configuration.spelling import LOGIN, as_text, example_file, spelled
from servekit.configuration.variables import UVICORNS, meant_by, unknown_variables


class Own(Settings):
    model_config = SettingsConfigDict(env_prefix="")

    stripe_key: SecretStr = SecretStr("")
    mail_password: str = Field(default="", validation_alias="MAIL_PW")
    greeting: str = "hello"
    words: list[str] = ["a"]
    numbers: tuple[float, ...] = (1.5,)
    table: dict[str, Any] = {}
    maybe: int | None = None


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in (*Own.model_fields, "mail_pw"):
        monkeypatch.delenv(name.upper(), raising=False)
    return tmp_path


def problems() -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load_settings(Own)
    return caught.value.problems


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("PORT=80\n".encode("utf-16"), "not text in UTF-8"),
        ("PORT=80\n".encode("utf-16-le"), "zero bytes"),
        ("GREETING=grün\n".encode("latin-1"), "not text in UTF-8"),
        (b"PORT=80\nnot a variable\n", "line 2 is not NAME=value"),
        (b"GREETING='open\nPORT=80\n", "line 1 is not NAME=value"),
        (b"x" * 2_000_000, "is larger than"),
    ],
)
def test_an_env_file_that_cannot_be_read_is_one_line_with_its_name(folder, content, reason):
    (folder / ".env").write_bytes(content)
    [line] = problems()
    assert line.startswith(".env: ")
    assert reason in line


def test_an_env_file_that_is_a_folder_is_one_line_with_its_name(folder):
    (folder / ".env").mkdir()
    assert problems() == [".env: cannot be read: Is a directory"]


def test_an_env_file_without_permission_is_one_line_with_its_name(folder, monkeypatch):
    (folder / ".env").write_text("PORT=80\n")

    def refuse(*_, **__):  # root may read everything
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert problems() == [".env: cannot be read: Permission denied"]


def test_an_env_file_may_begin_with_the_mark_of_its_encoding(folder):
    (folder / ".env").write_bytes("PORT=81\r\nGREETING=grün\r\n".encode("utf-8-sig"))
    settings = load_settings(Own)
    assert (settings.port, settings.greeting) == (81, "grün")


@pytest.mark.parametrize(
    "name", ["SECRET_KEY", "REDIS_URL", "STRIPE_KEY", "MAIL_PW", "ADMIN_TOKEN"]
)
def test_a_secret_may_stand_in_a_file_that_a_variable_names(folder, monkeypatch, name):
    text = "redis://:pw@host" if name == "REDIS_URL" else "k" * 40
    (folder / "secret").write_text(f" {text}\r\n")
    monkeypatch.setenv(f"{name}_FILE", f"{folder}/secret\n")
    settings = load_settings(Own)
    value = getattr(settings, "mail_password" if name == "MAIL_PW" else name.lower())
    assert getattr(value, "get_secret_value", lambda: value)() == text
    assert unknown_variables(Own, {f"{name}_FILE": "x"}) == []


def test_a_file_of_a_secret_may_be_named_in_the_env_file(folder):
    (folder / "secret").write_text("k" * 40)
    (folder / ".env").write_text("SECRET_KEY_FILE=secret\n")
    assert load_settings(Own).secret_keys == ["k" * 40]
    assert unknown_variables(Own) == []


@pytest.mark.parametrize(
    ("content", "variables", "reason"),
    [
        (None, {}, "names a file that is not there"),
        (b"\n", {}, "names a file that is empty"),
        (b"\xff\xfe", {}, "cannot be used: is not text in UTF-8"),
        (b"s3cret", {"STRIPE_KEY": "x"}, "and so is STRIPE_KEY: leave one of them out"),
    ],
)
def test_a_file_of_a_secret_that_cannot_be_used_is_one_line(
    folder, monkeypatch, content, variables, reason
):
    if content is not None:
        (folder / "secret").write_bytes(content)
    for name, text in {"STRIPE_KEY_FILE": f"{folder}/secret", **variables}.items():
        monkeypatch.setenv(name, text)
    [line] = problems()
    assert line.startswith("STRIPE_KEY_FILE: ")
    assert reason in line
    assert "s3cret" not in line


def test_only_secrets_are_read_from_files(monkeypatch):
    monkeypatch.setenv("DEBUG_FILE", "/var/log/debug.log")
    assert load_settings(Own).debug is False


def test_a_refusal_says_what_is_misspelt_too(monkeypatch):
    monkeypatch.setenv("ENVIRONMENT", "production")
    monkeypatch.setenv("REDIS_URI", "redis://host")
    assert "REDIS_URI: unknown, did you mean REDIS_URL?" in problems()


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("REDIS_URI", "REDIS_URL"),
        ("redis_uri", "REDIS_URL"),
        ("LOGLEVEL", "LOG_LEVEL"),
        ("ALLOWED_HOST", "ALLOWED_HOSTS"),
        ("Secret_Keys", "SECRET_KEY"),
        ("STRIPE_KEYS", "STRIPE_KEY"),
    ],
)
def test_a_name_that_is_nearly_right_is_reported_in_whatever_case(name, hint):
    assert unknown_variables(Own, {name: "x"}) == [f"{name}: unknown, did you mean {hint}?"]


MISSPELT = {
    "WORKRES": "WORKERS",
    "PROT": "PORT",
    "GREETINGS": "GREETING",
    "SERCET_KEY": "SECRET_KEY",
    "LIMIT_BODYBYTES": "LIMIT_BODY_BYTES",
}


@pytest.mark.parametrize(("name", "hint"), MISSPELT.items())
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_the_env_file_gets_the_same_hints_as_the_environment(folder, name, hint, encoding):
    (folder / ".env").write_text(f"{name}=x\nPORT=81\n", encoding=encoding)
    hints = [f"{name}: unknown, did you mean {hint}?"]
    assert unknown_variables(Own, {name: "x"}, folder / "none") == hints
    assert unknown_variables(Own, {}) == hints
    assert unknown_variables(Own, {name: "x"}) == hints


@pytest.mark.parametrize("name", ["GREETNGS", "PORTS", "SESSION_IDLE", "BODY_LIMIT_BYTES"])
def test_in_the_env_file_a_name_need_not_be_that_near(folder, name):
    (folder / ".env").write_text(f"{name}=x\n")
    assert "did you mean" in unknown_variables(Own, {})[0]


def test_no_setting_is_a_misspelling_of_another():
    known = {name.upper() for name in Own.model_fields}
    assert [name for name in known if meant_by(name, known - {name}, 0.95)] == []


@pytest.mark.parametrize(
    "name",
    [
        *("debug", "Log_Level", "STRIPE_KEY", "stripe_key", "MAIL_PW", "SECRET_KEY_FILE"),
        *("OTEL_SERVICE_NAME", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_HEADERS"),
        *("POSTGRES_PASSWORD", "POSTGRES_DB", "PGPASSWORD", "COMPOSE_PROJECT_NAME", "UV_INDEX_URL"),
    ],
)
def test_no_alarm_for_what_is_read_by_us_or_by_others(folder, name):
    (folder / ".env").write_text(f"{name}=x\n")
    assert unknown_variables(Own, {name: "x"}) == []


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("WEB_CONCURRENCY", ", did you mean WORKERS?"),
        ("FORWARDED_ALLOW_IPS", ", did you mean TRUSTED_PROXY_HOPS?"),
        ("UVICORN_PORT", ", did you mean PORT?"),
        ("uvicorn_timeout_keep_alive", ", did you mean TIMEOUT_KEEP_ALIVE_SECONDS?"),
        ("UVICORN_LOOP", ""),
    ],
)
def test_what_uvicorn_would_read_has_the_name_of_ours(folder, name, hint):
    line = f"{name}: is uvicorn's and does nothing here{hint}"
    assert unknown_variables(Own, {name: "x"}) == [line]
    (folder / ".env").write_text(f"{name}=x\n")
    assert unknown_variables(Own, {}) == [line]
    assert unknown_variables(Own, {name: "x"}) == [line]


@pytest.mark.parametrize("where", ["environment", "file"])
def test_what_a_platform_sets_beside_our_own_is_no_alarm(folder, where):
    ours = {"WORKERS": "2"}
    (folder / ".env").write_text("WORKERS=2\n" if where == "file" else "")
    environ = {"WEB_CONCURRENCY": "4"} | (ours if where == "environment" else {})
    assert unknown_variables(Own, environ) == []


def test_every_option_of_uvicorn_gets_a_hint_and_every_hint_names_an_option():
    command = importlib.import_module("uvicorn.main").main
    options = {f"UVICORN_{option.name}".upper() for option in command.params}
    hinted = {
        line.partition(":")[0] for line in unknown_variables(Own, dict.fromkeys(options, "x"))
    }
    assert hinted == options
    assert {name for name in UVICORNS if name.startswith("UVICORN_")} <= options
    assert {*UVICORNS.values()} <= {*Own.model_fields}


def test_where_uvicorn_serves_its_variables_are_its_own():
    assert unknown_variables(Own, {"UVICORN_PORT": "80"}, uvicorns=False) == []


class Prefixed(Settings):
    model_config = SettingsConfigDict(env_prefix="SHOP_", env_nested_delimiter="__")

    limits: dict[str, int] = {}


def test_a_prefix_of_a_services_own_is_part_of_the_names(folder, monkeypatch):
    (folder / ".env").write_text("SHOP_PORT=81\nSHOP_LIMITS__A=1\n")
    assert load_settings(Prefixed).port == 81
    assert unknown_variables(Prefixed, {}) == []
    monkeypatch.setenv("SHOP_PORT", "many")
    with pytest.raises(SettingsError) as caught:
        load_settings(Prefixed)
    assert caught.value.problems[0].startswith("SHOP_PORT: ")
    assert "# SHOP_PORT=8000" in example_file(Prefixed)


text = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]) | st.just("\n"), max_size=20)


@limits(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    greeting=text,
    words=st.lists(text),
    numbers=st.lists(st.floats(allow_nan=False, allow_infinity=False)),
)
@example(greeting="'\"a\"'", words=[], numbers=[])
@example(greeting='" a "', words=['"', '"'], numbers=[])
@example(greeting="", words=["'a", "b'"], numbers=[])
@example(greeting="a'b\"c\\d ${HOME} #x \\n", words=["a,b", "[", "", " x", "'q'"], numbers=[])
def test_what_is_shown_can_be_pasted_into_the_env_file(folder, greeting, words, numbers):
    assume(not any(map(LOGIN.search, (greeting, as_text(words)))))  # that would not be shown
    (folder / ".env").write_text("")
    settings = Own(greeting=greeting, words=words, numbers=tuple(numbers), table={"a": [1, "x"]})
    (folder / ".env").write_text("\n".join(spelled(settings)), encoding="utf-8")
    again = load_settings(Own)
    assert again.model_dump() == settings.model_dump()
    assert unknown_variables(Own, {}) == []


def test_what_is_shown_holds_no_secret(monkeypatch):
    for name in ("STRIPE_KEY", "MAIL_PW", "ADMIN_TOKEN"):
        monkeypatch.setenv(name, "XQJZ4711")
    shown = "\n".join(spelled(load_settings(Own)))
    assert "XQJZ" not in shown
    assert "# STRIPE_KEY is set, and not shown" in shown
    assert "\nREDIS_URL=\n" in shown
