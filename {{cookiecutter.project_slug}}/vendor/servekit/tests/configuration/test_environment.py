import re
import secrets
import uuid

import pytest
from pydantic import SecretStr
from pydantic_settings import SettingsConfigDict

from servekit import DatabaseUrl
from servekit.configuration.environment import SettingsError, load_admin_settings, load_settings
from servekit.configuration.safety import CLOSE_SECONDS, remarks
from servekit.configuration.settings import DEVELOPMENT_SECRET, Settings
from servekit.configuration.spelling import example_file
from servekit.configuration.variables import unknown_variables
from servekit.supervisor.program import WorkerLimits

PRODUCTION = {
    "ENVIRONMENT": "production",
    "REDIS_URL": "redis://redis:6379/0",
    "REDIS_NAMESPACE": "shop",
    "SECRET_KEY": "0123456789abcdef" * 2,
    "ALLOWED_HOSTS": "shop.example.com",
}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def problems(monkeypatch, **variables: str) -> list[str]:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load_settings(Settings)
    return caught.value.problems


def test_the_defaults_are_good_for_development():
    assert load_settings(Settings).environment == "development"


def test_a_complete_production_environment_is_accepted(monkeypatch):
    for name, value in PRODUCTION.items():
        monkeypatch.setenv(name, value)

    assert load_settings(Settings).production


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REDIS_URL", ""),
        ("SECRET_KEY", ""),
        ("SECRET_KEY", "short"),
        ("SECRET_KEY", "0123456789abcdef" * 2 + ",short"),
        ("SECRET_KEY", "a" * 40),
        ("SECRET_KEY", "changeme" * 8),
        ("SECRET_KEY", "0123456789abcdef" * 2 + "," + "ab" * 20),
        ("SECRET_KEY", "development-only-secret-never-use-in-production"),
        ("ALLOWED_HOSTS", "*"),
        ("ALLOWED_HOSTS", ""),
        ("CORS_ORIGINS", "*"),
        ("CORS_ORIGINS", "null"),
        ("DEBUG", "true"),
    ],
)
def test_production_refuses_an_unsafe_value_and_names_its_variable(monkeypatch, name, value):
    found = problems(monkeypatch, **{**PRODUCTION, name: value})

    assert len(found) == 1
    assert found[0].startswith(f"{name}: ")


def test_what_makes_random_keys_makes_good_ones(monkeypatch):
    keys = [secrets.token_hex(32), secrets.token_urlsafe(32), uuid.uuid4().hex, "ab1 C-d_" * 4]
    for name, value in {**PRODUCTION, "SECRET_KEY": ",".join(keys)}.items():
        monkeypatch.setenv(name, value)
    assert load_settings(Settings).secret_keys == keys


def test_a_comma_within_a_key_is_said(monkeypatch):
    [line] = problems(monkeypatch, **{**PRODUCTION, "SECRET_KEY": "a" * 20 + "," + "b" * 20})

    assert "commas made 2 keys of 20 and 20" in line


class WithDatabase(Settings):
    database_url: DatabaseUrl = SecretStr("sqlite:///service.db")


def test_a_database_must_be_named_in_production_and_sqlite_is_said_aloud(monkeypatch):
    for name, value in PRODUCTION.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match="DATABASE_URL: must be set in production"):
        load_settings(WithDatabase)
    monkeypatch.setenv("DATABASE_URL", "sqlite:////data/service.db")
    [line] = remarks(load_settings(WithDatabase))
    assert line.startswith("DATABASE_URL: is a file of SQLite")
    monkeypatch.setenv("DATABASE_URL", "postgres://u:s3cret@h/db?channel_binding=require")
    [line] = remarks(load_settings(WithDatabase))
    assert line.startswith("DATABASE_URL: channel_binding is left out")
    assert "s3cret" not in line


def test_every_problem_is_reported_at_once(monkeypatch):
    given = {"ENVIRONMENT": "production", "PORT": "http", "WORKERS": "-1", "REDIS_NAMESPACE": "a"}
    found = problems(monkeypatch, **given)

    assert [line.split(":")[0] for line in found] == [
        "PORT",
        "WORKERS",
        "REDIS_URL",
        "SECRET_KEY",
    ]


def test_a_malformed_secret_is_not_repeated(monkeypatch):
    found = problems(monkeypatch, **{**PRODUCTION, "SECRET_KEY": "hunter2"})

    assert "hunter2" not in str(found)


def test_the_key_of_development_is_none_for_production_in_whatever_company(monkeypatch):
    for key in (
        DEVELOPMENT_SECRET,
        f"{DEVELOPMENT_SECRET},",
        f"{'0123456789' * 4},{DEVELOPMENT_SECRET}",
    ):
        [line] = problems(monkeypatch, **{**PRODUCTION, "SECRET_KEY": key})
        assert line.startswith("SECRET_KEY: must be set in production")


def test_an_admin_port_beyond_loopback_asks_for_a_token(monkeypatch):
    assert problems(monkeypatch, ADMIN_HOST="0.0.0.0")[0].startswith("ADMIN_TOKEN: ")

    monkeypatch.setenv("ADMIN_HOST", "unix:/run/admin.sock")
    assert load_settings(Settings).admin_host == "unix:/run/admin.sock"


def test_a_drain_that_outlasts_the_grace_period_is_refused(monkeypatch):
    assert problems(monkeypatch, DRAIN_DELAY_SECONDS="6")[0].startswith("GRACE_PERIOD_SECONDS: ")
    monkeypatch.setenv("DRAIN_DELAY_SECONDS", "5")
    load_settings(Settings)


def test_what_is_planned_for_closing_is_what_a_worker_may_take():
    assert WorkerLimits().close_seconds == CLOSE_SECONDS


def test_lists_are_comma_separated_words(monkeypatch):
    monkeypatch.setenv("ALLOWED_HOSTS", "a.example, b.example,")

    assert load_settings(Settings).allowed_hosts == ["a.example", "b.example"]


def test_a_misspelt_variable_is_reported_with_the_right_name(tmp_path):
    found = unknown_variables(
        Settings, {"TIMEOUT_REQUEST_SECOND": "5", "HOME": "/"}, tmp_path / ".env"
    )

    assert found == ["TIMEOUT_REQUEST_SECOND: unknown, did you mean TIMEOUT_REQUEST_SECONDS?"]


def test_a_name_in_the_env_file_that_is_no_setting_is_reported(tmp_path):
    (tmp_path / ".env").write_text("PORT=1\nCOLOUR=red\n")

    assert unknown_variables(Settings, {}, tmp_path / ".env") == [
        "COLOUR: unknown, .env holds settings of the service only"
    ]


def test_every_setting_says_its_reason():
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_the_example_file_changes_nothing_as_it_is(tmp_path):
    defaults = load_settings(Settings)
    text = example_file(Settings)
    (tmp_path / ".env").write_text(text)

    assert load_settings(Settings) == defaults
    assert [line for line in text.splitlines() if line and not line.startswith("#")] == []


def test_the_example_file_is_accepted_with_every_line_uncommented(tmp_path):
    defaults = load_settings(Settings)
    lines = [line.removeprefix("# ") for line in example_file(Settings).splitlines()]
    (tmp_path / ".env").write_text("\n".join(filter(re.compile("[A-Z_]+=").match, lines)))

    assert load_settings(Settings) == defaults
    assert unknown_variables(Settings, {}, tmp_path / ".env") == []


class OwnSettings(Settings):
    regions: list[str] = ["eu"]
    limits: dict[str, int] = {}
    ports: tuple[int, ...] = ()
    maybe: list[int] | None = None


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("regions", "eu", ["eu"]),
        ("regions", " eu , us,", ["eu", "us"]),
        ("regions", '["eu", "us"]', ["eu", "us"]),
        ("regions", "", []),
        ("limits", '{"a": 1}', {"a": 1}),
        ("ports", "80,443", (80, 443)),
        ("maybe", "1,2", [1, 2]),
    ],
)
def test_a_list_of_a_services_own_reads_as_people_write_it(monkeypatch, name, text, value):
    monkeypatch.setenv(name.upper(), text)

    assert getattr(load_settings(OwnSettings), name) == value


@pytest.mark.parametrize(("name", "text"), [("REGIONS", "[eu"), ("LIMITS", "a=1"), ("PORTS", "x")])
def test_a_list_that_cannot_be_read_is_one_line_with_its_name(monkeypatch, name, text):
    monkeypatch.setenv(name, text)

    with pytest.raises(SettingsError) as error:
        load_settings(OwnSettings)
    [problem] = error.value.problems
    assert problem.startswith(f"{name}: ")


@pytest.mark.parametrize(
    ("environment", "debug", "served"),
    [
        ("development", False, True),
        ("development", True, True),
        ("test", False, False),
        ("test", True, True),
        ("production", False, False),
    ],
)
def test_documentation_is_served_in_development_and_with_debug(
    make_settings, environment, debug, served
):
    settings = make_settings(Settings, environment=environment, debug=debug)
    assert settings.serves_docs is served


class OfTheShop(Settings):
    model_config = SettingsConfigDict(env_prefix="SHOP_", env_file="shop.env")

    admin_port: int = 9200
    needed: str


def test_the_admin_port_is_that_of_the_service_whatever_else_is_missing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError):
        load_settings(OfTheShop)
    assert load_admin_settings(OfTheShop).admin_port == 9200
    monkeypatch.setenv("ADMIN_PORT", "9999")
    assert load_admin_settings(OfTheShop).admin_port == 9200
    (tmp_path / "shop.env").write_text("SHOP_ADMIN_PORT=9300\nSHOP_WORKERS=many\n")
    assert load_admin_settings(OfTheShop).admin_port == 9300
    (tmp_path / "token").write_text("of a file\n".replace(" ", "-"))
    monkeypatch.setenv("SHOP_ADMIN_TOKEN_FILE", "token")
    assert load_admin_settings(OfTheShop).admin_token.get_secret_value() == "of-a-file"
    monkeypatch.setenv("SHOP_ADMIN_PORT", "none")
    with pytest.raises(SettingsError, match="SHOP_ADMIN_PORT: "):
        load_admin_settings(OfTheShop)
