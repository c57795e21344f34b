"""Every row of `settings_table`: what people and platforms write is understood, or one line."""

import re
from enum import Enum
from pathlib import Path

import pytest
from pydantic import SecretStr

from servekit import DatabaseUrl, Settings, SettingsError
from servekit.configuration.environment import load_settings
from tests.configuration.settings_table import SAME, TABLE, Refusal

SECRETS = ("s3cret", "s3c", ":p@", "pw", "two words", "tökén")


class Colour(Enum):
    RED = "red"


class OwnSettings(Settings):
    database_url: DatabaseUrl = SecretStr("sqlite:///service.db")
    regions: list[str] = ["eu"]
    limits: dict[str, int] = {}
    by_region: dict[str, list[str]] = {}
    ports: tuple[int, ...] = ()
    maybe: list[int] | None = None
    colour: Colour | None = None
    greeting: str = "hi"
    stripe_key: SecretStr = SecretStr("")
    folder: Path = Path()


COMPLETE = {
    "REDIS_URL": "redis://redis:6379/0",
    "REDIS_NAMESPACE": "shop",
    "SECRET_KEY": "0123456789abcdef" * 2,
    "ALLOWED_HOSTS": "shop.example.com",
    "DATABASE_URL": "postgresql://u@host/db",
}
"""What a setting of production needs beside it."""


@pytest.fixture(autouse=True)
def _only_these(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in OwnSettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def test_the_table_is_long_enough():
    assert len(TABLE) >= 150
    assert len({(name, text) for name, text, _ in TABLE}) == len(TABLE)


@pytest.mark.parametrize(("name", "text", "expected"), TABLE)
def test_a_value_is_understood_as_it_is_written_or_refused_in_one_line(
    monkeypatch, name, text, expected
):
    if name == "ENVIRONMENT":
        for other, needed in COMPLETE.items():
            monkeypatch.setenv(other, needed)
    if name in {"HOST", "ADMIN_HOST"}:
        monkeypatch.setenv("ADMIN_TOKEN", "t")
    monkeypatch.setenv(name, text)
    if isinstance(expected, Refusal):
        with pytest.raises(SettingsError) as caught:
            load_settings(OwnSettings)
        [line] = caught.value.problems
        assert re.match(f"{name}: ", line)
        assert expected in line
        assert "\n" not in line
        assert len(line) < 250
        if "_URL" in name or "TOKEN" in name:
            assert [part for part in SECRETS if part in line] == []
        return
    value = getattr(load_settings(OwnSettings), name.lower())
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    value = value.value if isinstance(value, Enum) else value
    value = str(value) if isinstance(value, Path) else value
    assert value == (text.strip("'") if expected is SAME else expected)
