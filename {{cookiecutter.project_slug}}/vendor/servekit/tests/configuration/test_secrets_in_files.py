"""Secrets that come from files, and what is said of those that are refused."""

from pathlib import Path

import pytest
from pydantic import BaseModel, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from servekit import Settings, SettingsError
from servekit.configuration.environment import load_settings


class Own(Settings):
    stripe_key: SecretStr = SecretStr("")


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def problems() -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load_settings(Own)
    return caught.value.problems


class Nested(BaseModel):
    password: SecretStr = SecretStr("")
    port: int = 0

    @model_validator(mode="after")
    def check(self):
        raise ValueError(f"{self.password.get_secret_value()} is weak")


class Checked(Settings):
    model_config = SettingsConfigDict(env_nested_delimiter="__")

    api_token: SecretStr = SecretStr("")
    db: Nested | None = None

    @field_validator("api_token")
    @classmethod
    def begins(cls, value):
        if secret := value.get_secret_value():
            raise ValueError(f"{secret!r} does not begin with sk_")
        return value


@pytest.mark.parametrize(
    "variables",
    [
        {"API_TOKEN": "hunter2-secret"},
        {"API_TOKEN_FILE": "token"},
        {"DB__PASSWORD": "hunter2-secret"},
        {"DB": '{"password": "hunter2-secret"}'},
    ],
)
def test_no_check_repeats_a_secret_wherever_it_comes_from(folder, monkeypatch, variables):
    (folder / "token").write_text("hunter2-secret\n")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load_settings(Checked)
    [line] = caught.value.problems
    assert line.startswith(next(iter(variables)).removesuffix("_FILE").partition("__")[0] + ": ")
    assert "hunter2" not in line


@pytest.mark.parametrize("path", ["x" * 5000, "-----BEGIN KEY-----\n" + "a/" * 300])
def test_a_secret_in_the_place_of_its_files_name_is_not_repeated(monkeypatch, path):
    monkeypatch.setenv("STRIPE_KEY_FILE", path)
    [line] = problems()
    assert line.startswith("STRIPE_KEY_FILE: names a file that ")
    assert len(line) < 100


def test_a_secrets_file_in_a_folder_that_may_not_be_entered_is_one_line(monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", "/run/secrets/key")

    monkeypatch.setenv("STRIPE_KEY_FILE", "/run/secrets/key")
    monkeypatch.setattr(Path, "exists", refuse)  # root may enter any
    assert problems() == ["STRIPE_KEY_FILE: names a file that cannot be used: Permission denied"]


def test_the_name_of_a_secrets_file_may_stand_in_quotes(folder, monkeypatch):
    (folder / "key").write_text("sk_live\n")
    monkeypatch.setenv("STRIPE_KEY_FILE", '"key"')
    assert load_settings(Own).stripe_key.get_secret_value() == "sk_live"
