"""Settings that are models, each field of which has a variable of its own."""

from datetime import timedelta
from enum import Enum

import pytest
from pydantic import BaseModel, Field, HttpUrl, SecretStr
from pydantic_settings import SettingsConfigDict

from servekit import Settings, SettingsError
from servekit.configuration.environment import load_settings
from servekit.configuration.spelling import example_file, spelled
from servekit.configuration.variables import unknown_variables


class Limits(BaseModel):
    calls: int = 3


class Payment(BaseModel):
    url: HttpUrl = HttpUrl("http://127.0.0.1:1/")
    api_key: SecretStr = SecretStr("")
    retries: int = Field(default=2, le=5, description="How often a call is made again.")
    limits: Limits = Limits()


class Own(Settings):
    model_config = SettingsConfigDict(env_nested_delimiter="__")

    payment: Payment = Payment()
    maybe: Payment | None = None
    table: dict[str, str] = {}


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def problems(monkeypatch, **variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load_settings(Own)
    return caught.value.problems


@pytest.mark.parametrize("group", ["payment", "maybe"])
def test_a_nested_secret_comes_from_a_file_too(folder, monkeypatch, group):
    (folder / "key").write_text("sk_live\n")
    monkeypatch.setenv(f"{group.upper()}__API_KEY_FILE", "key")
    monkeypatch.setenv(f"{group.upper()}__RETRIES", "4")
    monkeypatch.setenv(f"{group.upper()}__LIMITS__CALLS", "9")
    found = getattr(load_settings(Own), group)
    assert found.api_key.get_secret_value() == "sk_live"
    assert (found.retries, found.limits.calls) == (4, 9)


def test_a_file_that_is_not_there_or_beside_the_variable_is_refused(monkeypatch):
    [line] = problems(monkeypatch, PAYMENT__API_KEY_FILE="none")
    assert line == "PAYMENT__API_KEY_FILE: names a file that is not there"
    [line] = problems(monkeypatch, PAYMENT__API_KEY="x")
    assert line.startswith("PAYMENT__API_KEY_FILE: is set, and so is PAYMENT__API_KEY")


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("PAYMENT__RETRIES", "9", "less than or equal to 5"),
        ("PAYMENT__URL", "x", "valid URL"),
        ("MAYBE__LIMITS__CALLS", "many", "is no integer"),
    ],
)
def test_what_is_wrong_within_a_setting_is_told_by_its_own_variable(
    monkeypatch, variable, value, said
):
    [line] = problems(monkeypatch, **{variable: value})
    assert line.startswith(f"{variable}: ")
    assert said in line


def test_a_misspelt_field_is_told_with_the_right_name(folder, monkeypatch):
    (folder / ".env").write_text("PAYMENT__RETRYS=4\nTABLE__ANY=thing\n")
    assert load_settings(Own).table == {"any": "thing"}
    [line] = unknown_variables(Own)
    assert line.startswith("PAYMENT__RETRYS: ")
    assert "PAYMENT__RETRIES" in line


def test_the_example_file_and_what_is_printed_can_be_read_again(folder, monkeypatch):
    text = example_file(Own)
    assert "# PAYMENT__RETRIES=2" in text
    assert "# MAYBE__LIMITS__CALLS=3" in text
    assert "# How often a call is made again." in text
    own = [line.removeprefix("# ") for line in text.splitlines() if "PAYMENT__" in line]
    (folder / ".env").write_text("\n".join(own))
    assert load_settings(Own).payment == Payment()
    monkeypatch.setenv("PAYMENT__API_KEY", "sk_live")
    monkeypatch.setenv("PAYMENT__RETRIES", "5")
    lines = [line for line in spelled(load_settings(Own)) if "PAYMENT__" in line]
    assert "PAYMENT__RETRIES=5" in lines
    assert "# PAYMENT__URL is set, and not shown: **********" in lines  # it may hold a password
    assert "sk_live" not in str(lines)
    assert "# PAYMENT__API_KEY is set, and not shown: **********" in lines


class Mode(Enum):
    LIVE = "live"
    TEST = "test"


class Keys(BaseModel):
    stripe: str = ""
    pin: int = 0


class Node(BaseModel):
    name: str = ""
    child: "Node | None" = None


class Rich(Payment):
    methods: list[str] = []
    mode: Mode = Mode.TEST
    wait: timedelta = timedelta(seconds=1)
    note: str = ""


class Full(Settings):
    model_config = SettingsConfigDict(env_nested_delimiter="__")

    payment: Rich = Rich()
    maybe: Payment | None = None
    secrets: Keys = Keys()
    tree: Node = Node()
    several: list[Limits] = []


def test_a_field_of_a_group_of_secrets_is_one(folder, monkeypatch):
    monkeypatch.setenv("SECRETS__STRIPE", "sk_live_123456")
    settings = load_settings(Full)
    assert settings.secrets.stripe == "sk_live_123456"
    assert "sk_live" not in "\n".join(spelled(settings))
    monkeypatch.setenv("SECRETS__PIN", "4711-8152")
    with pytest.raises(SettingsError) as caught:
        load_settings(Full)
    assert "4711" not in str(caught.value)
    monkeypatch.delenv("SECRETS__STRIPE")
    monkeypatch.delenv("SECRETS__PIN")
    (folder / "key").write_text("sk_of_a_file")
    monkeypatch.setenv("SECRETS__STRIPE_FILE", "key")
    assert load_settings(Full).secrets.stripe == "sk_of_a_file"


@pytest.mark.parametrize("part", ["PAYMENT__API_KEY", "PAYMENT__API_KEY_FILE", "PAYMENT__RETRIES"])
@pytest.mark.parametrize("whole", ["PAYMENT", "PAYMENT_FILE"])
def test_a_model_that_is_set_whole_and_by_a_field_is_refused(folder, monkeypatch, whole, part):
    (folder / "file").write_text('{"retries": 5, "api_key": "x"}')
    text = "file" if whole.endswith("_FILE") else '{"retries": 5}'
    monkeypatch.setenv(whole, text)
    assert load_settings(Full).payment.retries == 5
    assert unknown_variables(Full, {whole: text}) == []
    monkeypatch.setenv(part, "file" if part.endswith("_FILE") else "3")
    with pytest.raises(SettingsError) as caught:
        load_settings(Full)
    assert f"{part}: is set, and so is {whole}: leave one of them out" in caught.value.problems


def test_the_fields_of_a_model_are_written_as_settings_are(folder, monkeypatch):
    monkeypatch.setenv("PAYMENT__METHODS", "card, bank")
    monkeypatch.setenv("PAYMENT__MODE", "Live")
    monkeypatch.setenv("PAYMENT__NOTE", "'of one'")
    monkeypatch.setenv("PAYMENT__LIMITS", '{"calls": 9}')
    monkeypatch.setenv("SEVERAL", '[{"calls": 1}]')
    monkeypatch.setenv("TREE__CHILD", '{"name": "leaf"}')
    settings = load_settings(Full)
    assert settings.payment.methods == ["card", "bank"]
    assert (settings.payment.mode, settings.payment.note) == (Mode.LIVE, "of one")
    assert (settings.payment.limits.calls, settings.several[0].calls) == (9, 1)
    assert settings.tree.child == Node(name="leaf")
    text = "\n".join(line for line in spelled(settings) if not line.startswith("#"))
    assert "MAYBE" not in text
    for name in ("METHODS", "MODE", "NOTE", "LIMITS"):
        monkeypatch.delenv(f"PAYMENT__{name}")
    (folder / ".env").write_text(text)
    assert load_settings(Full) == settings
    example = example_file(Full)
    assert "# PAYMENT__MODE=test" in example
    assert "# SEVERAL=" in example


def refused(kind, monkeypatch, **variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load_settings(kind)
    return caught.value.problems


def test_a_model_within_another_is_not_set_twice_either(folder, monkeypatch):
    inner = {"PAYMENT__LIMITS": '{"calls": 5}', "PAYMENT__LIMITS__CALLS": "9"}
    [line] = refused(Full, monkeypatch, **inner)
    assert line.startswith("PAYMENT__LIMITS__CALLS: is set, and so is PAYMENT__LIMITS: ")
    monkeypatch.delenv("PAYMENT__LIMITS__CALLS")
    monkeypatch.delenv("PAYMENT__LIMITS")
    (folder / ".env").write_text('PAYMENT__LIMITS={"calls": 5}\n')
    assert load_settings(Full).payment.limits.calls == 5
    assert unknown_variables(Full) == []


class Log(BaseModel):
    level: str = "info"


class Inner(BaseModel):
    api_key: SecretStr = SecretStr("")


class Outer(BaseModel):
    inner: Inner = Inner()


class Both(BaseModel):
    api_key: SecretStr = SecretStr("")
    api_key_file: str = ""


class Logging(Settings):
    model_config = SettingsConfigDict(env_nested_delimiter="__")

    log: Log = Log()
    log_file: str = ""
    trace: Log = Log()
    outer: Outer = Outer()
    both: Both = Both()


def test_what_is_no_file_of_a_secret_is_no_second_value_of_it(monkeypatch):
    monkeypatch.setenv("LOG__LEVEL", "debug")
    monkeypatch.setenv("LOG_FILE", "/var/log/shop")
    monkeypatch.setenv("TRACE__LEVEL", "debug")
    monkeypatch.setenv("TRACE_FILE", "of somebody else")
    settings = load_settings(Logging)
    assert (settings.log.level, settings.log_file) == ("debug", "/var/log/shop")


def test_a_file_of_all_beside_one_of_a_part_two_models_down_is_a_line(folder, monkeypatch):
    (folder / "all").write_text('{"inner": {"api_key": "x"}}')
    (folder / "key").write_text("y")
    lines = refused(Logging, monkeypatch, OUTER_FILE="all", OUTER__INNER__API_KEY_FILE="key")
    pair = "OUTER__INNER__API_KEY_FILE: is set, and so is OUTER_FILE: leave one of them out"
    assert pair in lines


def test_a_field_beside_a_secret_that_ends_in_file_is_itself(monkeypatch):
    monkeypatch.setenv("BOTH__API_KEY", "x")
    monkeypatch.setenv("BOTH__API_KEY_FILE", "/no/such/file")
    both = load_settings(Logging).both
    assert (both.api_key.get_secret_value(), both.api_key_file) == ("x", "/no/such/file")
